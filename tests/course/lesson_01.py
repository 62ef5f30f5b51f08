"""Lesson 1: what it must reach, and wrong answers to its exercises."""

from collections.abc import Mapping
from typing import Any

import torch

WRONG = {
    "part": torch.zeros(3, 2),
    "numbers": 307_200,
    "invert": lambda image: 254 - image,
    "upside_down": lambda images: images.flip(2),
}


def reached(d: Mapping[str, Any], mnist: bool) -> bool:
    """With MNIST the book's figures, without it a minimum."""
    book = d["corner"].tolist()[2] == [0, 0, 0, 48, 166, 224]
    return d["rank"] == 4 and d["shares_memory"] and (not mnist or book)
