"""What turns a network's outputs into an answer: it is fitted on half of the validation images. No torch here.

Every prediction is a label, a set of labels, or a rejection:

    probabilities   softmax(logits / temperature) (Guo, Pleiss, Sun and Weinberger, 2017)
    set             the classes whose probability reaches their limit, and always the most probable one: split conformal
                    prediction (Sadinle, Lei and Wasserman, 2019), with a limit of its own for each class
    rejected        blank images; images far from all training images in feature space; improbable predictions

The other half of the validation images has no part in any of it, so what is measured there holds for new images.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from underhood.analysis import cross_entropy_per_image
from underhood.runs.calibration import Calibration

COVERAGE = 0.95
BY_DISTANCE = 0.9  # of the images that are to be rejected; the rest by their probability
MARGIN = 1e-4  # relative, between a limit and the image that it comes from: torch and ONNX differ by rounding
ROUNDING = 1e-5  # of a distance, 1 − a cosine in single precision: where all are 0, MARGIN alone would be nothing
LIKELY_TEMPERATURES = 0.5  # standard deviation of the temperature's logarithm, before any image is seen
REASONS = ("", "blank", "distance", "confidence")


class Answers(NamedTuple):
    """What a model says of n images."""

    probabilities: np.ndarray  # float32 [n, classes], of which the largest is the label's
    sets: np.ndarray | None  # bool [n, classes]; None where the model has no sets
    reasons: list[str]  # n of REASONS: why an image is rejected, "" where it is not

    @property
    def rejected(self) -> np.ndarray:
        """Mask of rejected images: bool [n]."""
        return np.array([reason != "" for reason in self.reasons], bool)


def answers(
    calibration: Calibration, pixels: np.ndarray, probabilities: np.ndarray, distances: np.ndarray | None
) -> Answers:
    """What a model says of images.

    pixels: uint8 [n, c, h, w]; probabilities: calibrated, float [n, classes]; distances: float [n], None without
    """
    sets = prediction_sets(probabilities, calibration.limits) if calibration.limits else None
    return Answers(probabilities, sets, rejection_reasons(calibration, pixels, probabilities, distances))


def prediction_sets(probabilities: np.ndarray, limits: Sequence[float] | np.ndarray) -> np.ndarray:
    """The set of labels of each image: bool [n, classes]. The most probable label is always in it.

    probabilities: float [n, classes]; limits: a class is in the set from this probability on, float [classes]
    """
    sets = probabilities >= np.asarray(limits, probabilities.dtype)
    sets[np.arange(len(sets)), probabilities.argmax(axis=1)] = True
    return sets


def rejection_reasons(
    calibration: Calibration, pixels: np.ndarray, probabilities: np.ndarray, distances: np.ndarray | None
) -> list[str]:
    """Why each of n images is rejected, "" where it is not.

    pixels: uint8 [n, c, h, w]; probabilities: float [n, classes]; distances: float [n], None without
    """
    values = pixels.reshape(len(pixels), -1)
    blank = values.min(axis=1) == values.max(axis=1)
    far = np.zeros(len(pixels), bool) if distances is None else ~(distances <= calibration.distance_limit)
    improbable = probabilities.max(axis=1) < calibration.threshold
    number = np.select([blank, far, improbable], [1, 2, 3], 0)
    return [REASONS[i] for i in number.tolist()]


def calibration_half(labels: np.ndarray, groups: np.ndarray | None = None) -> np.ndarray:
    """Mask of the validation images that a calibration is fitted on: bool [n]. Half of each class, drawn at random.

    labels: int [n]. Of an odd number of images, the larger part. groups: of the images, int [n]: half of the groups of
    each class then, since images of a group are alike; a group counts to the class of its first image
    """
    if groups is not None:
        _, first, which = np.unique(groups, return_index=True, return_inverse=True)
        return calibration_half(labels[first])[which]
    place = np.random.default_rng(0).permutation(len(labels))
    order = np.lexsort((place, labels))  # class by class, each in random order
    sizes = np.bincount(labels)
    rank = np.empty(len(labels), int)
    rank[order] = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return rank % 2 == 0


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature that makes images' labels the most probable.

    logits: float [n, classes]; labels: int [n]. Temperatures near 1 are assumed to be more likely, which matters where
    there are few images, or none that is classified wrongly: without it the best temperature would then be 0.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import logsumexp

    logits = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    of_label = logits[np.arange(len(labels)), labels]

    def loss(log_temperature: float) -> float:
        factor = math.exp(-log_temperature)
        nll = (logsumexp(logits * factor, axis=1) - of_label * factor).sum()
        return float(nll + (log_temperature / LIKELY_TEMPERATURES) ** 2 / 2)

    return math.exp(float(minimize_scalar(loss, bounds=(-3, 3), method="bounded", options={"xatol": 1e-6}).x))


def softmax(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities at a temperature: float [n, classes], of the logits' dtype."""
    with np.errstate(invalid="ignore"):  # NaN stays NaN: the caller refuses it
        powers = np.exp((logits - logits.max(axis=1, keepdims=True)) / logits.dtype.type(temperature))
        return powers / powers.sum(axis=1, keepdims=True)


def set_limits(probabilities: np.ndarray, labels: np.ndarray, coverage: float) -> np.ndarray:
    """The probability from which on each class belongs to a prediction set: float [classes].

    Sets of new images hold their class with at least this probability, for each class: of the images of a class,
    the allowed fraction has a lower probability than the limit. A class with fewer images than that takes
    (``images_needed``) shares the limit of all images; where those are too few as well, it is 0: sets hold every class.

    probabilities: of images that the model was not trained on, float [n, classes]; labels: int [n]
    """
    of_label = probabilities[np.arange(len(labels)), labels]
    counts = np.bincount(labels, minlength=probabilities.shape[1])
    limits = np.full(len(counts), _limit(of_label, coverage))
    for label in np.flatnonzero(counts >= images_needed(coverage)).tolist():
        limits[label] = _limit(of_label[labels == label], coverage)
    return limits


def images_needed(coverage: float) -> int:
    """The least number of images from which a limit of this coverage can be found: 19 for 0.95."""
    return math.ceil(round(coverage / (1 - coverage), 6))


def _limit(of_label: np.ndarray, coverage: float) -> float:
    """The limit that this fraction of new images reaches, by the probabilities of others' classes, float [n]."""
    rank = math.floor(round((len(of_label) + 1) * (1 - coverage), 6))  # so many may be below the limit
    return float(np.sort(of_label)[rank - 1]) * (1 - MARGIN) if rank else 0.0


def reject_threshold(probabilities: np.ndarray, reject: float) -> float:
    """The threshold that rejects this fraction of predictions, whose probabilities are float [n]; 0 for none."""
    count = min(round(reject * len(probabilities)), len(probabilities) - 1)
    return float(np.sort(probabilities)[count]) * (1 - MARGIN) if count else 0.0


def distance_limit(distances: np.ndarray, reject: float) -> float:
    """The distance beyond which at most this fraction of new images lies; infinity for none.

    distances: of images that had no part in the prototypes, float [n]. Where they are too few for so small a fraction,
    the limit is the largest: 1 in n + 1 new images is expected to lie beyond it.
    """
    if not reject or not len(distances):
        return math.inf
    rank = max(1, math.floor(reject * (len(distances) + 1)))
    return float(np.sort(distances)[-rank]) * (1 + MARGIN) + ROUNDING


def feature_distances(features: np.ndarray, known: Calibration) -> np.ndarray:
    """How far each image is from the training images in feature space, 0 to 2: float32 [n].

    1 − the cosine of the angle between its features and a prototype: the mean of this for the nearest ones. The
    prototypes are directions of length 1 in a subspace, so that what an image has outside of it makes the distance
    larger.

    features: float32 [n, features]; known: with its projection onto the subspace, float32 [features, rank], its
    prototypes, float32 [prototypes, rank], and how many neighbours count
    """
    assert known.projection is not None
    assert known.prototypes is not None
    length = np.linalg.norm(features, axis=1, keepdims=True)
    cosines = features / np.maximum(length, 1e-12) @ known.projection @ known.prototypes.T  # [n, prototypes]
    return 1 - np.partition(cosines, -known.neighbours, axis=1)[:, -known.neighbours :].mean(axis=1)


def fit_calibration(
    logits: np.ndarray, distances: np.ndarray, labels: np.ndarray, coverage: float, reject: float, known: Calibration
) -> Calibration:
    """The calibration of a network, by images that it was not trained on.

    logits: float32 [n, classes]; distances: float32 [n], to the prototypes; labels: int [n]
    coverage: the fraction of new images whose set is to hold their class; reject: the fraction that may be rejected,
    nine tenths of it by distance, the rest by probability; known: with the prototypes, from ``fit_prototypes``
    """
    temperature = fit_temperature(logits, labels)
    probabilities = softmax(logits, temperature)
    return replace(
        known,
        temperature=temperature,
        threshold=reject_threshold(probabilities.max(axis=1), (1 - BY_DISTANCE) * reject),
        coverage=coverage,
        limits=tuple(set_limits(probabilities, labels, coverage).tolist()),
        distance_limit=distance_limit(distances, BY_DISTANCE * reject),
    )


class Measured(NamedTuple):
    """What a calibration is worth on images that it was not fitted on."""

    images: int
    loss_before: float  # mean negative log-likelihood, before the temperature
    loss: float
    coverage: float  # the fraction of images whose set holds their class
    set_size: float  # the mean number of labels in a set
    hardest_class: int  # the class whose sets hold it least often
    hardest_coverage: float
    hardest_set_size: float
    rejected: float  # the fraction of images that are rejected


def measure_answers(said: Answers, uncalibrated: np.ndarray, labels: np.ndarray) -> Measured:
    """How good answers are. uncalibrated: probabilities at temperature 1, float [n, classes]; labels: int [n]

    Raises ValueError without images or without sets.
    """
    if said.sets is None or not len(labels):
        raise ValueError("there are no sets of images to measure")
    held, sizes = said.sets[np.arange(len(labels)), labels], said.sets.sum(axis=1)
    counts = np.bincount(labels)
    coverages = np.bincount(labels, held)[counts > 0] / counts[counts > 0]
    hardest = int(coverages.argmin())
    label = int(np.flatnonzero(counts)[hardest])
    return Measured(
        len(labels),
        float(cross_entropy_per_image(uncalibrated, labels).mean()),
        float(cross_entropy_per_image(said.probabilities, labels).mean()),
        float(held.mean()), float(sizes.mean()), label, float(coverages[hardest]),
        float(sizes[labels == label].mean()), float(said.rejected.mean()),
    )  # fmt: skip
