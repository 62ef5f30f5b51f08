"""Losses, which training minimises, and metrics, which people read: each a mean over the batch, a tensor [].

Each compares shapes first. Predictions [n, 1] against targets [n] would broadcast to [n, n] without a warning, and the
model would train on nonsense; here that is an error.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def check_same_shape(predictions: Tensor, targets: Tensor) -> None:
    """Raise ValueError unless both have the same shape."""
    if predictions.shape != targets.shape:
        shapes = f"predictions have shape {tuple(predictions.shape)} but targets {tuple(targets.shape)}"
        raise ValueError(f"{shapes}: give them the same shape, for instance with targets.unsqueeze(1)")


def check_class_shapes(predictions: Tensor, targets: Tensor) -> None:
    """Raise ValueError unless predictions are [n, classes] and targets [n]."""
    if predictions.ndim != 2 or targets.ndim != 1 or len(predictions) != len(targets):
        shapes = f"predictions have shape {tuple(predictions.shape)} and targets {tuple(targets.shape)}"
        raise ValueError(f"{shapes}: expected [n, classes] and [n]")


def cross_entropy(
    predictions: Tensor, targets: Tensor, weight: Tensor | None = None, label_smoothing: float = 0.0
) -> Tensor:
    """Mean of −log of the right class's probability. predictions: logits [n, classes].

    targets: indices [n], or where images are mixed the share of each class, float [n, classes]
    weight: how much each class counts [classes]; label_smoothing: the share of a target spread evenly over all classes
    """
    (check_same_shape if targets.is_floating_point() else check_class_shapes)(predictions, targets)
    return F.cross_entropy(predictions, targets, weight, label_smoothing=label_smoothing)


def mnist_loss(predictions: Tensor, targets: Tensor) -> Tensor:
    """Chapter 4's loss for two classes: the mean of |sigmoid(prediction) − target|. Both have the same shape."""
    check_same_shape(predictions, targets)
    p = predictions.sigmoid()
    return torch.where(targets == 1, 1 - p, p).mean()


def mse(predictions: Tensor, targets: Tensor) -> Tensor:
    """Mean squared error of two tensors of the same shape."""
    check_same_shape(predictions, targets)
    return F.mse_loss(predictions, targets)


def l1(predictions: Tensor, targets: Tensor) -> Tensor:
    """Mean absolute error of two tensors of the same shape."""
    check_same_shape(predictions, targets)
    return F.l1_loss(predictions, targets)


def accuracy(predictions: Tensor, targets: Tensor) -> Tensor:
    """The fraction whose highest logit is the right class. predictions: [n, classes]; targets: [n]."""
    check_class_shapes(predictions, targets)
    return (predictions.argmax(dim=1) == targets).double().mean()  # in float64, mean × n is exact


def error_rate(predictions: Tensor, targets: Tensor) -> Tensor:
    """1 − accuracy. predictions: [n, classes]; targets: [n]."""
    return 1 - accuracy(predictions, targets)


def batch_accuracy(predictions: Tensor, targets: Tensor) -> Tensor:
    """Chapter 4's accuracy for two classes, where sigmoid(prediction) > 0.5 means 1. Both have the same shape."""
    check_same_shape(predictions, targets)
    return ((predictions.sigmoid() > 0.5) == (targets == 1)).double().mean()
