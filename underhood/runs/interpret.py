"""What predictions say: intervals, classes, and which pictures two models disagree on."""

from typing import Any

import numpy as np


def wilson_interval(correct: int, total: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """The 95 % interval of a fraction (E. B. Wilson, 1927): within 0 to 1, and of use near 1, where accuracies are."""
    p, zz = correct / total, z * z
    middle = (p + zz / (2 * total)) / (1 + zz / total)
    half = z / (1 + zz / total) * np.sqrt(p * (1 - p) / total + zz / (4 * total**2))
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))


def per_class(labels: np.ndarray, predicted: np.ndarray, classes: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """For each class that has pictures: how many, how many right, and the fraction."""
    images = np.bincount(labels, minlength=len(classes))
    correct = np.bincount(labels[labels == predicted], minlength=len(classes))
    return {
        name: {"images": int(n), "correct": int(c), "accuracy": float(c / n)}
        for name, n, c in zip(classes, images, correct, strict=True)
        if n
    }


def fixed_and_broken(before: np.ndarray, after: np.ndarray) -> tuple[int, int]:
    """Of pictures right or wrong under two models, bool [n] each: how many are newly right, and newly wrong."""
    return int((after & ~before).sum()), int((before & ~after).sum())
