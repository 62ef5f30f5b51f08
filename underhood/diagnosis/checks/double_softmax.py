"""Is softmax or sigmoid applied twice?"""

import math

import torch

from underhood.diagnosis import Finding, fine, found
from underhood.diagnosis.case import Case
from underhood.diagnosis.trace import LossSeen

SUSPICION = "softmax or sigmoid is applied twice: by the model, and again by the loss"
SECONDS, AFTER = 0.0, ()
WITHIN = {"cross_entropy": "log_softmax", "binary_cross_entropy_with_logits": "sigmoid"}  # that the loss applies itself
HARMLESS = "LogSoftmax after LogSoftmax"  # which changes nothing


def examine(case: Case) -> Finding | None:
    """Follow autograd's graph back from the loss, and look at the numbers that the loss gets."""
    trace = case.trace
    if trace is None or not trace.steps:
        return None
    pairs = [pair for pair in trace.graph if pair != HARMLESS and not pair.endswith(("Relu", "ClampMin", "Tanh"))]
    if trace.loss is not None and trace.loss.name in WITHIN and (pairs or _probabilities(trace.loss)):
        return _in_loss(trace.loss)
    if pairs:
        last, _, before = pairs[0].partition(" after ")
        return found(
            f"on the way to the loss, {last.lower()} is applied to the result of {before.lower()}: a sigmoid of "
            "numbers from 0 to 1 lies between 0.5 and 0.73, so that the loss cannot come near 0",
            "remove the one in the model: the loss and the accuracy apply it themselves",
        )
    return fine("no softmax or sigmoid is applied to the result of another")


def _probabilities(loss: LossSeen) -> bool:
    """Whether what the loss takes for logits are probabilities: rows that add up to 1."""
    x = loss.outputs.float()
    if loss.name != "cross_entropy" or x.ndim != 2 or x.shape[1] < 2:
        return False
    return bool((x >= 0).all()) and bool(torch.allclose(x.sum(1), torch.ones(len(x), device=x.device), atol=1e-3))


def _in_loss(loss: LossSeen) -> Finding:
    classes = loss.outputs.shape[1] if loss.outputs.ndim > 1 else 1
    applied = f"F.{loss.name} applies {WITHIN[loss.name]} itself"
    if loss.name == "cross_entropy":
        lowest = -math.log(math.e / (math.e + classes - 1))
        sums = float(loss.outputs.float().sum(1).mean())
        return found(
            f"{applied}, and gets outputs between {float(loss.outputs.min()):.2f} and {float(loss.outputs.max()):.2f} "
            f"that add up to {sums:.2f} for each image: with {classes} classes the loss cannot fall below {lowest:.2f}",
            "let the model end with its last linear layer (logits); softmax only where probabilities are shown",
        )
    return found(
        f"{applied}, and gets outputs that are probabilities already, from {float(loss.outputs.min()):.2f} to "
        f"{float(loss.outputs.max()):.2f}: the loss cannot fall below 0.31 for one of the classes",
        "remove the sigmoid from the model, or use F.binary_cross_entropy, which applies none",
    )
