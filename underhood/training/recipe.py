"""What to train with where nobody says: a pure function of what the pictures are like and of the effort wanted.

docs/recipes.md has the trials behind these numbers. Few pictures want many epochs and small batches; a rate of 0.01
(AdamW, one cycle) suits every model here from 250 pictures to 60,000.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch

from underhood.core.augment import Augmentation

LEARNING_RATE = 0.01
LEAST_EPOCHS_TO_AUGMENT = 4  # pictures that are seen fewer times than this need no variety


@dataclass(frozen=True)
class Recipe:
    """How to train: stored in the run."""

    model: str
    epochs: int
    batch_size: int
    lr: float
    precision: str
    augmentation: Augmentation
    label_smoothing: float

    def describe(self) -> str:
        """In words, for whoever trains."""
        moved = self.augmentation
        words = f"{self.epochs} epoch{'s' * (self.epochs != 1)} of batches of {self.batch_size} at rate {self.lr:g}"
        if moved:
            words += f"; pictures moved by up to {moved.shift:.0%}"
            words += f", turned by {moved.rotation:g}°, scaled by {moved.scale:.0%}"
        words += "; products in bfloat16" if self.precision == "bfloat16" else ""
        return words + (f"; labels smoothed by {self.label_smoothing:g}" if self.label_smoothing else "")

    def as_dict(self) -> dict[str, Any]:
        """As stored in ``config.json``."""
        return self.__dict__ | {"augmentation": self.augmentation.as_dict()}


def choose(
    count: int,
    effort: str = "normal",
    model: str | None = None,
    epochs: int | None = None,
    quick_bfloat16: bool = False,
) -> Recipe:
    """The recipe for ``count`` training pictures; ``model`` and ``epochs`` as they are where somebody chose them.

    quick_bfloat16: whether the device multiplies it faster than float32 (``has_quick_bfloat16``)
    """
    model = model or ("vgg" if effort == "best" else "conv")
    convolutional = model in ("conv", "vgg", "resnet18")
    usual = min(60, max(3, round(15 * (1440 / count) ** 0.3)))
    chosen = epochs or max(1, int(usual * {"fast": 0.35, "normal": 1, "best": 4}[effort]))
    batch_size = min(128, max(16, 2 ** round(math.log2(max(1, count / 12)))))
    # one matrix cannot know a 7 in all its places: only convolutions gain by seeing them
    augmented = effort != "fast" and chosen >= LEAST_EPOCHS_TO_AUGMENT and convolutional
    moved = Augmentation(shift=0.07, rotation=10.0, scale=0.1) if augmented else Augmentation()
    # conv gains little by it, so only where time is what counts
    halved = quick_bfloat16 and convolutional and (model != "conv" or effort == "fast")
    precision = "bfloat16" if halved else "float32"
    return Recipe(model, chosen, batch_size, LEARNING_RATE, precision, moved, 0.1 if effort == "best" else 0.0)


def has_quick_bfloat16(device: str) -> bool:
    """Whether a device has instructions for bfloat16; without them it is slower than float32."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    able = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))
