"""A trained run at work on pictures, prepared as the run's own were."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from underhood.data.prepare import BadPicture, Source, picture_to_pixels
from underhood.errors import DataError
from underhood.paths import expanded

if TYPE_CHECKING:
    from PIL import Image

    from underhood.runs.run import Run


class Predictor:
    """Classes and probabilities for pictures.

    >>> predictor = Predictor.load("runs/digits-conv-1")            # doctest: +SKIP
    >>> labels, probabilities = predictor.predict(["seven.png"])    # doctest: +SKIP
    """

    def __init__(self, run: "Run"):
        self.run, self.classes, self.preparation = run, run.classes, run.preparation

    @classmethod
    def load(cls, run: str | Path) -> "Predictor":
        """Load a run folder. Raises RunError."""
        from underhood.runs.run import load_run

        return cls(load_run(expanded(run)))

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
        from underhood.training.learner import predict_probabilities

        probabilities = predict_probabilities(self.run.model, pixels).numpy()
        return [self.classes[i] for i in probabilities.argmax(axis=1)], probabilities
