"""Can the model learn a single batch by heart?"""

import math

import numpy as np

from underhood.diagnosis import Finding, fine, found, suspicious
from underhood.diagnosis.case import Case
from underhood.diagnosis.trace import Trace

SUSPICION = "the model cannot even learn one batch by heart"
SECONDS = 4.0
AFTER = ("no-step", "zero-grad", "broadcast", "double-softmax", "wrong-loss", "no-gradient", "frozen-parameters",
         "input-scale", "learning-rate", "nan", "dead-units", "train-eval")  # fmt: skip
STEPS, LEARNED, STUCK = 150, 0.2, 0.75  # of the loss at the start
ENOUGH = 50  # steps: a loop that ends before says nothing about what the model can learn


def examine(case: Case) -> Finding | None:
    """Train on the first batch again and again, at the learning rate, at ten times and at a tenth of it."""
    trace = case.trace
    if trace is None or len(trace.steps) < 2:
        return None
    left: dict[float, float] = {}
    taken: dict[float, int] = {}
    for factor in (1.0, 10.0, 0.1):
        one = case.again(steps=STEPS, repeat=True, updates=factor)
        if len(one.steps) < ENOUGH or not math.isfinite(one.first_loss):
            continue
        taken[factor] = len(one.steps)
        left[factor] = one.last_loss / one.first_loss if one.first_loss else math.inf
        if left[factor] < LEARNED or case.left() < 2:
            break
    if not left:
        return None
    best = min(left, key=lambda factor: left[factor])
    rate = {1.0: "", 10.0: ", at ten times the learning rate", 0.1: ", at a tenth of the learning rate"}[best]
    numbers = f"after {taken[best]} steps on one batch, {left[best]:.0%} of the loss at the start is left{rate}"
    if left[best] > STUCK:  # without labels it may be another kind of training, two networks against each other
        fix = "look for the cause among the other checks: more images or epochs will not help this model"
        return found(numbers, fix) if _has_classes(trace) else suspicious(numbers, fix)
    return fine(numbers)


def _has_classes(trace: Trace) -> bool:
    """Whether there are labels of two classes or more."""
    return len(np.unique(np.concatenate([*trace.targets, np.zeros(0, int)]))) > 1
