"""What a run says of images, as its page is to say it: a label, a set of labels, or none of them."""

from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from underhood.analysis.calibration import (
    MARGIN,
    REASONS,
    ROUNDING,
    Answers,
    answers,
    prediction_sets,
    rejection_reasons,
)
from underhood.explorer.weights import MAX_WEIGHTS, packed
from underhood.runs.calibration import Calibration

if TYPE_CHECKING:
    from underhood.runs.checkpoint import Run

TIE = 2 * MARGIN  # relative to a limit: closer to it, rounding decides
NUMBERS = {reason: number for number, reason in enumerate(REASONS)}


class Expected(NamedTuple):
    """What torch says of n images."""

    calibration: Calibration
    pixels: np.ndarray  # uint8 [n, c, h, w]
    said: Answers
    distances: np.ndarray | None  # float32 [n]; None without prototypes


def calibration_for_page(calibration: Calibration) -> Calibration:
    """A run's calibration as its page has it: without distances where their numbers are too many for a page."""
    arrays = calibration.projection, calibration.prototypes
    if any(array is None for array in arrays) or sum(array.size for array in arrays if array is not None) > MAX_WEIGHTS:
        return replace(calibration, distance_limit=float("inf"), projection=None, prototypes=None, neighbours=1)
    return calibration


def calibration_data(calibration: Calibration) -> dict[str, Any]:
    """A calibration for JSON. Its arrays have 32 bits a number: with 16, distances would differ in the fourth digit."""
    projection, prototypes = calibration.projection, calibration.prototypes
    return calibration.as_dict() | {
        "rank": None if projection is None else projection.shape[1],
        "projection": None if projection is None else packed(projection, np.float32),
        "prototypes": None if prototypes is None else packed(prototypes, np.float32),
    }


def expected_answers(run: "Run", pixels: np.ndarray) -> Expected:
    """What a run's network says of images, uint8 [n, c, h, w], with torch and the page's calibration."""
    from underhood.analysis import require_probabilities
    from underhood.analysis.calibration import softmax
    from underhood.analysis.inference import logits_and_distances

    calibration = calibration_for_page(run.calibration)
    logits, distances = logits_and_distances(run.model, pixels, calibration)
    probabilities = require_probabilities(softmax(logits, calibration.temperature), run.path)
    return Expected(calibration, pixels, answers(calibration, pixels, probabilities, distances), distances)


def same_sets(found: np.ndarray, expected: Expected, tied: np.ndarray) -> np.ndarray:
    """Mask of images with torch's set: bool [n]. Labels whose probability is at their limit may be in it or not.

    found: bool [n, classes]; tied: bool [n, classes], labels that are as probable as the most probable one
    """
    probabilities, limits = expected.said.probabilities, np.asarray(expected.calibration.limits)
    least, most = (prediction_sets(probabilities, limits * (1 + sign * TIE)) for sign in (1, -1))
    return (((found >= least) & (found <= most)) | tied).all(axis=1)


def same_reasons(found: np.ndarray, expected: Expected) -> np.ndarray:
    """Mask of images that are rejected for torch's reason, or as there not at all: bool [n]. At a limit, both count.

    found: int [n], of ``REASONS``
    """
    calibration, same = expected.calibration, np.zeros(len(found), bool)
    for distance, threshold in product((1, -1), (1, -1)):
        near = replace(
            calibration,
            distance_limit=calibration.distance_limit * (1 + distance * TIE) + distance * ROUNDING,
            threshold=calibration.threshold * (1 + threshold * TIE),
        )
        reasons = rejection_reasons(near, expected.pixels, expected.said.probabilities, expected.distances)
        same |= found == np.array([NUMBERS[reason] for reason in reasons])
    return same
