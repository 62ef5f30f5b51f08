"""A trained model at work on pictures, prepared as its own were: from a run folder, or from ``model.onnx`` alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from underhood.analysis.interpretation import not_sure
from underhood.core.errors import DataError
from underhood.preparation.paths import expanded
from underhood.preparation.prepare import BadPicture, Preparation, Source, picture_to_pixels

if TYPE_CHECKING:
    from PIL import Image

    from underhood.analysis.attributions import Contributions


AT_ONCE = 16  # pictures


@dataclass(frozen=True)
class Predictor:
    """Classes and probabilities for pictures.

    classes: names, in the order of the probabilities; preparation: how a picture becomes pixels; threshold: what is
    less probable is not sure; probabilities: uint8 [n, c, h, w] → float32 [n, classes]
    name: of the run; model: of the network; metrics: name → value, on the validation pictures
    ideals: each class's average training picture, uint8 [classes, c, h, w], where the run has them
    contributions: (pixels [c, h, w], label) → ``Contributions``, where there is torch

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
    ideals: np.ndarray | None = None
    contributions: "Callable[[np.ndarray, int], Contributions] | None" = None

    @classmethod
    def load(cls, run: str | Path) -> "Predictor":
        """Load a run folder, or an exported ``.onnx`` file, which needs no torch. Raises RunError."""
        path = expanded(run)
        if path.suffix == ".onnx":
            from underhood.serving.onnx import load_onnx

            return load_onnx(path)
        import torch

        from underhood.analysis.attributions import contributions
        from underhood.core.learner import predict_probabilities
        from underhood.runs.class_means import load_ideals
        from underhood.runs.folder import load_run, read_metrics

        loaded = load_run(path)

        def probabilities(pixels: np.ndarray) -> np.ndarray:
            if len(pixels) > AT_ONCE:
                return predict_probabilities(loaded.model, pixels).numpy()
            with torch.inference_mode():  # a server's few: half the time of what works through thousands
                return loaded.model(torch.from_numpy(pixels)).softmax(dim=1).numpy()

        return cls(
            path, loaded.classes, loaded.preparation, loaded.threshold, probabilities,
            path.resolve().name, loaded.architecture.model, read_metrics(path), load_ideals(path, loaded),
            partial(contributions, loaded.model),
        )  # fmt: skip

    def predict(self, pictures: "Sequence[Source | Image.Image]") -> tuple[list[str], np.ndarray]:
        """The class of each picture (a path, an open file or a PIL image), and probabilities, float32 [n, classes].

        The columns are in the order of ``classes``. Raises DataError for a picture that cannot be read.
        """
        if isinstance(pictures, (str, Path)):
            pictures = [pictures]
        shape = self.preparation.channels, self.preparation.height, self.preparation.width
        pixels = np.empty((len(pictures), *shape), np.uint8)
        for i, picture in enumerate(pictures):
            try:
                pixels[i] = picture_to_pixels(picture, self.preparation)
            except BadPicture as bad:
                name = picture if isinstance(picture, (str, Path)) else f"picture {i}"
                raise DataError(f"{name} {bad}") from None
        return self.predict_pixels(pixels)

    def predict_pixels(self, pixels: np.ndarray) -> tuple[list[str], np.ndarray]:
        """The same for pictures that are prepared already: uint8 [n, c, h, w]."""
        probabilities = self.probabilities(pixels)
        return [self.classes[i] for i in probabilities.argmax(axis=1)], probabilities

    def rejected(self, pixels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
        """Of which pictures the model is not sure: bool [n]. A blank one is never sure."""
        return not_sure(pixels, probabilities, self.threshold)
