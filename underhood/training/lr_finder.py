"""The learning-rate finder (L. Smith, 2015): train briefly while the learning rate grows, and see where the loss falls.

It runs the one training loop with a schedule of its own, and restores the weights and the random state.
"""

import copy
import math
from typing import NamedTuple

import torch

from underhood.core.errors import DivergedError
from underhood.core.learner import Learner
from underhood.core.schedule import ScheduleValue

SMOOTHING = 0.9  # exponential moving average of the losses
STOP_FACTOR = 4.0  # stop when the loss is this many times the lowest: what follows would only overflow
CLEAR_FALL = 0.05  # the loss must fall by this fraction for its minimum to mean something


class LRCurve(NamedTuple):
    """The result of the learning-rate finder. Steps whose loss is NaN or infinite are left out."""

    lrs: list[float]
    losses: list[float]  # smoothed
    suggestion: float | None  # a tenth of the learning rate at the minimum; None where there is no clear minimum
    verdict: str  # one line that explains it


def lr_find(learn: Learner, start: float = 1e-6, end: float = 10.0, steps: int = 100) -> LRCurve:
    """Take up to ``steps`` steps with learning rates from ``start`` to ``end``, evenly spaced on a log scale."""

    def growing(step: int, total: int) -> ScheduleValue:  # noqa: ARG001 (every schedule takes both)
        return ScheduleValue((start / end) ** (1 - step / (steps - 1)))

    weights, was_training = copy.deepcopy(learn.model.state_dict()), learn.model.training
    trial = Learner(learn.dls, learn.model, learn.loss_func, learn.opt_func)
    trial.forward = learn.forward
    lrs: list[float] = []
    losses: list[float] = []
    average, overflow = 0.0, False
    try:
        with torch.random.fork_rng():
            for step in trial.steps(math.ceil(steps / len(learn.dls.train)), end, growing):
                loss = step.loss.item()
                overflow = not math.isfinite(loss)
                if overflow:  # and the weights are by now
                    break
                average = SMOOTHING * average + (1 - SMOOTHING) * loss
                lrs.append(step.lr)
                losses.append(average / (1 - SMOOTHING ** len(lrs)))
                if losses[-1] > STOP_FACTOR * min(losses) or step.number == steps:
                    break
    except DivergedError:  # in the last step of an epoch
        overflow = True
    finally:
        learn.model.load_state_dict(weights)
        learn.model.train(was_training)
    return LRCurve(lrs, losses, *_suggest(lrs, losses, overflow))


def _suggest(lrs: list[float], losses: list[float], overflow: bool) -> tuple[float | None, str]:
    if not losses:
        return None, "the first loss is already NaN or infinite: check the data and the model"
    lowest = min(range(len(losses)), key=losses.__getitem__)
    if losses[lowest] > (1 - CLEAR_FALL) * losses[0]:
        return None, "no clear minimum: the loss does not fall at any learning rate that was tried"
    if lowest == len(losses) - 1 and overflow:
        return None, f"no clear minimum: the loss falls until it becomes NaN or infinite, after {lrs[lowest]:.2g}"
    if lowest == len(losses) - 1:
        return None, "no clear minimum: the loss still falls at the highest learning rate that was tried"
    return lrs[lowest] / 10, f"the loss is lowest at {lrs[lowest]:.2g}; a tenth of that is a safe highest learning rate"
