"""Lesson 14: what it must reach, and wrong answers to its exercises."""

from collections.abc import Mapping
from typing import Any

import torch

WRONG = {
    "diagnosis": ("A", "B"),
    "allowed": True,
    "early_stopping": lambda losses, patience: losses.index(min(losses)),
    "shifted": lambda image, down, right: image.roll((down, right), (0, 1)),
    "split": lambda count: (torch.randperm(count)[:30], torch.randperm(count)[:10], torch.randperm(count)[:10]),
}


def reached(d: Mapping[str, Any], mnist: bool) -> bool:
    """Fifty images are learned by heart, random labels too; augmentation helps; the best of many guessers guesses."""
    return (
        d["train_accuracy_50"] == 1
        and d["train_accuracy_50"] - d["valid_accuracy_50"] > (0.15 if mnist else 0.05)
        and d["rows_50"][-1].train_loss < 0.05 < d["rows_50"][-1].valid_loss
        and d["nonsense_train"] > 0.98
        and d["nonsense_valid"] < 0.2
        and d["curve"][-1][1] > d["curve"][0][1] + 0.1
        and d["augmented"] > d["bare"] + (0.02 if mnist else -0.03)
        and d["best_score"] > 0.2 > 0.15 > d["on_test"]
    )
