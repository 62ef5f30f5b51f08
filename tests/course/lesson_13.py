"""Lesson 13: what it must reach, and wrong answers to its exercises."""

from collections.abc import Mapping
from typing import Any

import torch

WRONG = {
    "both": (400, 400),
    "out_shape": [64, 32, 14, 14],
    "mover": torch.tensor([[0, 0, 0], [1, 0, 0], [0, 0, 0]]),
    "max_pool": lambda image: image[::2, ::2],
    "overlap": False,
}


def reached(d: Mapping[str, Any], mnist: bool) -> bool:
    """A convolution is PyTorch's, it beats a matrix and minds moved digits less, and shortcuts keep the gradient."""
    accuracies, drops, sizes = d["accuracies"], d["drops"], d["sizes"]
    return (
        d["same"]
        and accuracies["conv"] > max(0.93 if mnist else 0.9, accuracies["linear"])
        and accuracies["linear"] > accuracies["similarity"] - 0.05
        and (not mnist or accuracies["conv"] > accuracies["net"] + 0.02)
        and (not mnist or drops["conv"][2] > drops["net"][2] + 0.1)
        and sizes["plain"][0] < 1e-4 * sizes["plain"][-1]
        and sizes["with shortcuts"][0] > 0.1 * sizes["with shortcuts"][-1]
        and d["deep_accuracy"]["with shortcuts"] > d["deep_accuracy"]["plain"] + 0.2
    )
