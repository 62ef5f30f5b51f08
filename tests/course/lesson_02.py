"""Lesson 2: what it must reach, and wrong answers to its exercises."""

from collections.abc import Mapping
from typing import Any

import torch

WRONG = {
    "bottom_right": torch.tensor([[8, 10], [14, 16]]),
    "photos_shape": [32, 48],
    "letters": "ABCE",
    "strides": (1, 10, 30, 150),
    "centred": lambda images: images - images.mean(),
}


def reached(d: Mapping[str, Any], mnist: bool) -> bool:
    """With MNIST the book's figures, without it a minimum."""
    right = d["rank"] == 3 and d["wrapped"].tolist() == [110, 210, 4]
    nothing_copied = d["many"].stride(0) == 0 and d["many"].data_ptr() == d["one"].data_ptr()
    book = list(d["threes"].shape) == [6131, 28, 28]
    return right and nothing_copied and d["ratio"] > 5 and (not mnist or book)
