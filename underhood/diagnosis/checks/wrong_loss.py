"""Does the loss fit the outputs and the targets?"""

import numpy as np
import torch

from underhood.diagnosis import Finding, fine, found
from underhood.diagnosis.case import Case
from underhood.diagnosis.trace import LossSeen

SUSPICION = "the loss does not fit the outputs or the targets"
SECONDS, AFTER = 0.0, ("broadcast", "double-softmax")
REGRESSION = ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")
CROSS_ENTROPY = "F.cross_entropy(logits, labels), with logits [n, classes] and labels, whole numbers [n]"


def examine(case: Case) -> Finding | None:
    """Look at what the loss gets, and at the lowest value that it reaches."""
    trace = case.trace
    if trace is None or not trace.steps:
        return None
    if trace.loss is not None and (finding := _of_loss(trace.loss)):
        return finding
    if any(pair.endswith((" after Relu", " after ClampMin")) for pair in trace.graph):
        pair = next(one for one in trace.graph if one.endswith((" after Relu", " after ClampMin")))
        return found(
            f"the outputs pass a ReLU before the loss ({pair.lower()}): no output can be below 0, and one that is 0 "
            "for all images gets no gradient any more",
            "let the model end with its last linear layer, without an activation function",
        )
    lowest = float(np.nanmin([*trace.losses, np.inf]))
    if lowest < -0.05:
        return found(
            f"the loss falls below 0, to {lowest:.3g}: a loss that measures errors cannot, so it rewards them or gets "
            "numbers that it does not expect",
            CROSS_ENTROPY + "; a loss is made smaller, so do not put a minus before it",
        )
    name = f"F.{trace.loss.name}" if trace.loss else "the loss"
    return fine(f"{name} gets outputs and targets of the kind that it expects")


def _of_loss(loss: LossSeen) -> Finding | None:
    x, y = loss.outputs.float(), loss.targets
    if loss.name == "nll_loss" and x.ndim == 2 and x.isfinite().any() and not _log_probabilities(x):
        total = float(x.exp().sum(1).nanmean())
        return found(
            f"F.nll_loss expects logarithms of probabilities, whose exponentials add up to 1 for each image; here they "
            f"add up to {total:.3g}",
            CROSS_ENTROPY + "; or F.nll_loss(F.log_softmax(logits, dim=1), labels)",
        )
    if loss.name == "cross_entropy" and x.ndim == 2 and x.shape[1] == 1:
        return found(
            "F.cross_entropy gets a single output for each image: with one class, loss and gradient are always 0",
            "F.binary_cross_entropy_with_logits(outputs, labels.float().unsqueeze(1)), or two outputs",
        )
    if loss.name in REGRESSION:
        return _regression(loss, x, y)
    if loss.name == "binary_cross_entropy_with_logits" and y.numel() and (float(y.max()) > 1 or float(y.min()) < 0):
        return found(
            f"F.binary_cross_entropy_with_logits expects targets from 0 to 1, and gets {_range(y)}", CROSS_ENTROPY
        )
    return None


def _regression(loss: LossSeen, x: torch.Tensor, y: torch.Tensor) -> Finding | None:
    labels = y.numel() == len(y) and bool((y == y.round()).all()) and int(y.max()) > 1
    if labels and x.numel() == len(x):
        return found(
            f"F.{loss.name} compares one output for each image with the number of its class, {_range(y)}: it says that "
            "class 3 is nearer to class 4 than to class 9",
            CROSS_ENTROPY,
        )
    return None


def _range(y: torch.Tensor) -> str:
    return f"numbers from {float(y.min()):g} to {float(y.max()):g}"


def _log_probabilities(x: torch.Tensor) -> bool:
    """Do they add up to 1? Rows with NaN say nothing; the logarithm of a probability of 0 is −∞."""
    total = x.exp().sum(1)
    return bool((total[~total.isnan()] - 1).abs().lt(1e-2).all())
