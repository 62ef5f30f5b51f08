"""A trained model in use: predictions in Python, as an ONNX file, and over HTTP."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from underhood.analysis.calibration import Answers, answers
from underhood.core.errors import DataError, RunError
from underhood.preparation import Preparation, prepare_image
from underhood.preparation.files import BadImageError, Source, expanduser
from underhood.runs.calibration import Calibration

if TYPE_CHECKING:
    from PIL import Image

    from underhood.analysis.attributions import Attributions


@dataclass(frozen=True)
class Predictor:
    """A trained model with all it needs to classify image files: from a run folder, or from ``model.onnx`` alone.

    source: the folder or file that was loaded
    classes: the class names, in the order of the probabilities
    preparation: how an image becomes pixels, as in training
    threshold: predictions with a lower probability are rejected
    probabilities: a function of pixels, uint8 [n, c, h, w], that returns float32 [n, classes], from 0 to 1, calibrated;
        it raises RunError where the model predicts NaN
    name: the run's name; model: the network's; metrics: the validation metrics by name
    class_means: the mean training image of each class, uint8 [classes, c, h, w]; None where the run has none
    attributions: a function of (pixels [c, h, w], label) that returns ``Attributions``; None without torch
    calibration: how its outputs become answers: prediction sets, rejections
    outputs: a function of pixels that returns (probabilities, distances in feature space, float32 [n] or None)

    >>> predictor = Predictor.load("runs/digits-conv-1")            # doctest: +SKIP
    >>> labels, probabilities = predictor.predict(["seven.png"])    # doctest: +SKIP
    """

    source: Path
    classes: tuple[str, ...]
    preparation: Preparation
    threshold: float
    probabilities: Callable[[np.ndarray], np.ndarray]
    name: str = ""
    model: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    class_means: np.ndarray | None = None
    attributions: "Callable[[np.ndarray, int], Attributions] | None" = None
    calibration: Calibration | None = None
    outputs: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray | None]] | None = None

    @classmethod
    def load(cls, run: str | Path, onnx_threads: int = 0) -> "Predictor":
        """Load a run folder, or an exported ``.onnx`` file, which needs no torch. Raises RunError.

        onnx_threads: to compute with where it is a ``.onnx`` file, by default one per core
        """
        path = expanduser(run)
        if path.suffix == ".onnx":
            from underhood.serving.onnx import load_onnx

            return cls(path, *load_onnx(path, threads=onnx_threads))
        from underhood.serving.network import load_network

        return cls(path, *load_network(path))

    def predict(self, images: "Sequence[Source | Image.Image]") -> tuple[list[str], np.ndarray]:
        """Predict the class of each image: (class names, probabilities).

        images: paths, open binary files or PIL images. The probabilities are float32 [n, classes], in the order of
        ``classes``. Raises DataError where an image cannot be read.
        """
        if isinstance(images, (str, Path)):
            images = [images]
        shape = self.preparation.channels, self.preparation.height, self.preparation.width
        pixels = np.empty((len(images), *shape), np.uint8)
        for i, image in enumerate(images):
            try:
                pixels[i] = prepare_image(image, self.preparation)
            except BadImageError as bad:
                name = image if isinstance(image, (str, Path)) else f"image {i}"
                raise DataError(f"{name} {bad}") from None
        return self.predict_pixels(pixels)

    def predict_pixels(self, pixels: np.ndarray) -> tuple[list[str], np.ndarray]:
        """``predict`` for images that are prepared already: pixels uint8 [n, c, h, w]."""
        probabilities = self.probabilities(pixels)
        return [self.classes[i] for i in probabilities.argmax(axis=1)], probabilities

    def answers(self, pixels: np.ndarray) -> Answers:
        """What the model says of images that are prepared, uint8 [n, c, h, w]: probabilities, sets and rejections.

        Raises RunError where the model predicts NaN.
        """
        calibration = self.calibration or Calibration(threshold=self.threshold)
        if self.outputs is None:
            return answers(calibration, pixels, self.probabilities(pixels), None)
        probabilities, distances = self.outputs(pixels)
        if distances is not None and np.isnan(distances).any():  # NaN is beyond no limit
            raise RunError(f"{self.source} computes a distance of NaN: its weights are damaged, so train again")
        return answers(calibration, pixels, probabilities, distances)
