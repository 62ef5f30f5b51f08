"""Metrics: what people look at. Each is a mean over the pictures it is given, as float64.

``Learner.validate`` multiplies each batch's mean by its count, adds up, and divides once: a short last batch weighs
what it weighs, and in float64 the number of right answers survives exactly.
"""

import numpy as np
from torch import Tensor

from underhood.core.losses import class_shapes, same_shape


def accuracy(predictions: Tensor, targets: Tensor) -> Tensor:
    """The fraction whose highest logit is the right class. predictions: [n, classes]; targets: [n]."""
    class_shapes(predictions, targets)
    return (predictions.argmax(dim=1) == targets).double().mean()


def balanced_accuracy(predicted: np.ndarray, labels: np.ndarray) -> float:
    """The mean over classes of the fraction that is right: a rare class counts as much as a common one. Both int [n].

    Classes without a picture do not count (as scikit-learn's ``balanced_accuracy_score`` has it).
    """
    counts = np.bincount(labels)
    right = np.bincount(labels[predicted == labels], minlength=len(counts))
    return float((right[counts > 0] / counts[counts > 0]).mean())


def error_rate(predictions: Tensor, targets: Tensor) -> Tensor:
    """One minus accuracy. predictions: [n, classes]; targets: [n]."""
    return 1 - accuracy(predictions, targets)


def batch_accuracy(predictions: Tensor, targets: Tensor) -> Tensor:
    """Chapter 4's accuracy for two classes: sigmoid(prediction) above a half means 1. Both of one shape."""
    same_shape(predictions, targets)
    return ((predictions.sigmoid() > 0.5) == (targets == 1)).double().mean()
