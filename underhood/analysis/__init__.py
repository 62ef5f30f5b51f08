"""Statistics of predictions: intervals, tests, accuracy per class, rejection. No torch here."""

from typing import Any

import numpy as np

from underhood.core.errors import UnderhoodError


def require_probabilities(probabilities: np.ndarray, model: object = "the model") -> np.ndarray:
    """The same probabilities, float [n, classes]. Raises UnderhoodError where one is not from 0 to 1: NaN, for one.

    model: its name for the message, such as the path of the run
    """
    with np.errstate(invalid="ignore"):
        least, most = (probabilities.min(), probabilities.max()) if probabilities.size else (0.0, 1.0)
    if not (least >= 0 and most <= 1 + 1e-5):  # a sum of float32 may be off by its last digits; NaN is not above 0
        value = f"{least:g}" if not least >= 0 else f"{most:g}"
        raise UnderhoodError(f"{model} predicts a probability of {value}: its weights are damaged, so train again")
    return probabilities


def wilson_interval(correct: int, total: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """The 95 % confidence interval of a fraction (E. B. Wilson, 1927).

    It stays within 0 and 1 and is accurate near 1, where accuracies usually are.
    """
    p, zz = correct / total, z * z
    middle = (p + zz / (2 * total)) / (1 + zz / total)
    half = z / (1 + zz / total) * np.sqrt(p * (1 - p) / total + zz / (4 * total**2))
    low, high = min(p, float(middle - half)), max(p, float(middle + half))  # rounding: p where all are right
    return max(0.0, low), min(1.0, high)


def accuracy_interval(right: np.ndarray, groups: np.ndarray | None = None) -> tuple[float, float]:
    """The 95 % interval of the fraction of images that are right, bool [n], which may be in groups, int64 [n].

    Without groups it is ``wilson_interval``. Images of a group are right or wrong
    together, so they count as fewer: as many as would give the variance of the groups. Where all groups have the same
    accuracy, each counts as one image.
    """
    correct, total = int(right.sum()), len(right)
    if groups is None or len(np.unique(groups)) == total:
        return wilson_interval(correct, total)
    from scipy.special import stdtrit  # quantiles of Student's t distribution

    _, which, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    count, p = len(sizes), correct / total
    if count < 2:
        return 0.0, 1.0  # a single group says nothing of others
    difference = np.bincount(which, right, count) - p * sizes  # of the images right in a group from what is expected
    variance = count / (count - 1) * float((difference**2).sum()) / total**2
    worth = min(total, p * (1 - p) / variance) if variance > 1e-12 and 0 < p < 1 else count
    return wilson_interval(p * worth, worth, float(stdtrit(count - 1, 0.975)))  # type: ignore[arg-type]


def mcnemar(fixed: int, broken: int) -> float:
    """The two-sided p-value of McNemar's exact test (1947): are two models equally accurate on the same images?

    fixed, broken: how many images only the second, and only the first, classifies correctly
    """
    from scipy.stats import binomtest

    return float(binomtest(fixed, fixed + broken).pvalue) if fixed + broken else 1.0


def balanced_accuracy(predicted: np.ndarray, labels: np.ndarray) -> float:
    """The mean of the classes' accuracies, so that a rare class counts as much as a common one.

    predicted, labels: int [n]. Classes without images are left out, as in scikit-learn's ``balanced_accuracy_score``.
    """
    counts = np.bincount(labels)
    correct = np.bincount(labels[predicted == labels], minlength=len(counts))
    return float((correct[counts > 0] / counts[counts > 0]).mean())


def per_class(labels: np.ndarray, predicted: np.ndarray, classes: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """The number of images, of correct predictions, and the accuracy of each class that has images.

    labels, predicted: int [n]
    """
    images = np.bincount(labels, minlength=len(classes))
    correct = np.bincount(labels[labels == predicted], minlength=len(classes))
    return {
        name: {"images": int(n), "correct": int(c), "accuracy": float(c / n)}
        for name, n, c in zip(classes, images, correct, strict=True)
        if n
    }


def fixed_and_broken(before: np.ndarray, after: np.ndarray) -> tuple[int, int]:
    """How many images only the second model classifies correctly, and how many only the first.

    before, after: whether the first and the second model are correct, bool [n] each
    """
    return int((after & ~before).sum()), int((before & ~after).sum())


def cross_entropy_per_image(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """−log of the right class's probability: float [n], of the same dtype as the probabilities.

    probabilities: float [n, classes], 0 counts as the smallest normal float32; labels: int [n]
    """
    right = probabilities[np.arange(len(labels)), labels]
    return 0.0 - np.log(np.maximum(right, np.finfo(np.float32).tiny))  # 0 − 0 is 0, but −0 would print as "-0"
