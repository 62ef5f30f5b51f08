"""Losses: how wrong the model is, as one number that has a useful slope.

Each compares shapes first. Predictions (n, 1) against targets (n,) would broadcast to (n, n) without a word and train a
model on nonsense; here that is an error.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def same_shape(predictions: Tensor, targets: Tensor) -> None:
    """Raise ValueError unless both have the same shape."""
    if predictions.shape != targets.shape:
        raise ValueError(
            f"predictions are {tuple(predictions.shape)} but targets {tuple(targets.shape)}: "
            "give them the same shape, for instance with targets.unsqueeze(1)"
        )


def class_shapes(predictions: Tensor, targets: Tensor) -> None:
    """Raise ValueError unless predictions are [n, classes] and targets [n]."""
    if predictions.ndim != 2 or targets.ndim != 1 or len(predictions) != len(targets):
        raise ValueError(
            f"predictions are {tuple(predictions.shape)} and targets {tuple(targets.shape)}: "
            "expected [n, classes] and [n]"
        )


def cross_entropy(
    predictions: Tensor, targets: Tensor, weight: Tensor | None = None, label_smoothing: float = 0.0
) -> Tensor:
    """Mean of −log of the right class's probability. predictions: logits [n, classes]; targets: indices [n].

    weight: how much each class counts [classes]; label_smoothing: the share of each target that is spread evenly over
    all classes, so that the model need not be endlessly sure
    """
    class_shapes(predictions, targets)
    return F.cross_entropy(predictions, targets, weight, label_smoothing=label_smoothing)


def mnist_loss(predictions: Tensor, targets: Tensor) -> Tensor:
    """Chapter 4's loss for two classes: the mean distance of sigmoid(prediction) from its target, 1 or 0.

    predictions: any numbers, [n, 1] or [n]; targets: of the same shape
    """
    same_shape(predictions, targets)
    p = predictions.sigmoid()
    return torch.where(targets == 1, 1 - p, p).mean()


def mse(predictions: Tensor, targets: Tensor) -> Tensor:
    """Mean squared error. Both of one shape."""
    same_shape(predictions, targets)
    return F.mse_loss(predictions, targets)


def l1(predictions: Tensor, targets: Tensor) -> Tensor:
    """Mean absolute error. Both of one shape."""
    same_shape(predictions, targets)
    return F.l1_loss(predictions, targets)
