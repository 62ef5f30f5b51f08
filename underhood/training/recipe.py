"""What to train with where nobody says: a pure function of what the pictures are like and of the effort wanted.

docs/recipes.md has the trials behind these numbers. Few pictures want many epochs and small batches; a rate of 0.01
(AdamW, one cycle) suits every model here from 250 pictures to 60,000.
"""

import math
from dataclasses import dataclass
from typing import Any

from underhood.training.augment import Augmentation

LEARNING_RATE = 0.01
LEAST_EPOCHS_TO_AUGMENT = 4  # pictures that are seen fewer times than this need no variety


@dataclass(frozen=True)
class Recipe:
    """How to train: stored in the run."""

    model: str
    epochs: int
    batch_size: int
    lr: float
    augmentation: Augmentation
    label_smoothing: float

    def describe(self) -> str:
        """In words, for whoever trains."""
        moved = self.augmentation
        words = f"{self.epochs} epochs of batches of {self.batch_size} at rate {self.lr:g}"
        if moved:
            words += f"; pictures moved by up to {moved.shift:.0%}"
            words += f", turned by {moved.rotation:g}°, scaled by {moved.scale:.0%}"
        return words + (f"; labels smoothed by {self.label_smoothing:g}" if self.label_smoothing else "")

    def as_dict(self) -> dict[str, Any]:
        return self.__dict__ | {"augmentation": self.augmentation.as_dict()}


def choose(count: int, effort: str = "normal", model: str | None = None, epochs: int | None = None) -> Recipe:
    """The recipe for ``count`` training pictures; ``model`` and ``epochs`` as they are where somebody chose them."""
    model = model or "conv"
    times = {"fast": 0.5, "normal": 1.0, "best": 3.0}[effort]
    usual = min(60, max(3, round(30 * (1440 / count) ** 0.5)))
    chosen = epochs or max(1, round(usual * times))
    batch_size = min(128, max(16, 2 ** round(math.log2(max(1, count / 24)))))
    # one matrix cannot know a 7 in all its places: only convolutions gain by seeing them
    augmented = effort != "fast" and chosen >= LEAST_EPOCHS_TO_AUGMENT and model in ("conv", "resnet18")
    moved = Augmentation(shift=0.07, rotation=10.0, scale=0.1) if augmented else Augmentation()
    return Recipe(model, chosen, batch_size, LEARNING_RATE, moved, 0.1 if effort == "best" else 0.0)
