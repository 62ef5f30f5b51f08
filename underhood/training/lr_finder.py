"""The learning-rate finder (L. Smith, 2015): train briefly while the rate grows, and look where the loss falls.

It runs the one loop with a schedule of its own, and leaves weights and random state as they were.
"""

import copy
import math
from typing import NamedTuple

import torch

from underhood.core.learner import Learner
from underhood.core.schedule import Pace

SMOOTHING = 0.9  # each loss shown is nine tenths of what was and a tenth of the new one
BLOWN_UP = 4.0  # times the lowest loss: going on would only overflow
CLEAR = 0.05  # the loss must fall by this fraction for its lowest place to mean something


class RateCurve(NamedTuple):
    """What was found. ``losses`` are smoothed; steps whose loss is not a number are left out."""

    lrs: list[float]
    losses: list[float]
    suggestion: float | None  # a tenth of the rate at the lowest loss; None where there is no clear one
    verdict: str


def lr_find(learn: Learner, start: float = 1e-6, end: float = 10.0, steps: int = 100) -> RateCurve:
    """Take up to ``steps`` steps at rates from ``start`` to ``end``, evenly spread on a logarithmic scale."""

    def growing(step: int, total: int) -> Pace:  # noqa: ARG001 (every schedule has both)
        return Pace((start / end) ** (1 - step / (steps - 1)))

    kept = copy.deepcopy(learn.model.state_dict())
    was_training = learn.model.training
    lrs: list[float] = []
    losses: list[float] = []
    running, overflow = 0.0, False
    try:
        with torch.random.fork_rng():
            for step in learn.steps(math.ceil(steps / len(learn.dls.train)), end, growing):
                loss = step.loss.item()
                overflow = not math.isfinite(loss)
                if overflow:  # and so are the weights by now
                    break
                running = SMOOTHING * running + (1 - SMOOTHING) * loss
                lrs.append(step.lr)
                losses.append(running / (1 - SMOOTHING ** len(lrs)))
                if losses[-1] > BLOWN_UP * min(losses) or step.number == steps:
                    break
    finally:
        learn.model.load_state_dict(kept)
        learn.model.train(was_training)
    return RateCurve(lrs, losses, *_judged(lrs, losses, overflow))


def _judged(lrs: list[float], losses: list[float], overflow: bool) -> tuple[float | None, str]:
    if not losses:
        return None, "the first loss is not a number already: look at the data or the model"
    lowest = min(range(len(losses)), key=losses.__getitem__)
    if losses[lowest] > (1 - CLEAR) * losses[0]:
        return None, "no clear minimum: the loss does not fall at any rate that was tried"
    if lowest == len(losses) - 1 and overflow:
        return None, f"no clear minimum: the loss falls until it is not a number, after a rate of {lrs[lowest]:.2g}"
    if lowest == len(losses) - 1:
        return None, "no clear minimum: the loss still falls at the highest rate that was tried"
    return lrs[lowest] / 10, f"the loss is lowest at {lrs[lowest]:.2g}; a tenth of that is a safe highest rate"
