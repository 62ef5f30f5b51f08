"""What a run folder and a ``.onnx`` file both hold, once they are loaded. No torch here."""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from underhood.preparation import Preparation
from underhood.runs.calibration import Calibration

if TYPE_CHECKING:
    from underhood.analysis.attributions import Attributions


class LoadedModel(NamedTuple):
    """A trained model, in the order of ``Predictor``'s fields after ``source``."""

    classes: tuple[str, ...]
    preparation: Preparation
    threshold: float
    probabilities: Callable[[np.ndarray], np.ndarray]  # uint8 [n, c, h, w] → float32 [n, classes]
    name: str
    model: str
    metrics: dict[str, float]
    class_means: np.ndarray | None  # uint8 [classes, c, h, w]
    attributions: "Callable[[np.ndarray, int], Attributions] | None"  # None from a .onnx file: they need torch
    calibration: Calibration
    outputs: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray | None]]  # probabilities, distances float32 [n]
