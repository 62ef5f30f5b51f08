"""Learning-rate schedules: pure functions of the step, so that training can resume at any step.

A schedule takes (step, from 0 on; total steps) and returns a ``ScheduleValue``.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

from torch.optim import Optimizer


class ScheduleValue(NamedTuple):
    """What a schedule returns for one step."""

    lr_factor: float  # the fraction of the highest learning rate, 0 to 1
    momentum: float | None = None  # 0 to 1; None leaves the optimizer's own


Schedule = Callable[[int, int], ScheduleValue]


def flat(step: int, total: int) -> ScheduleValue:  # noqa: ARG001 (every schedule takes both)
    """The highest learning rate at every step."""
    return ScheduleValue(1.0)


def one_cycle(step: int, total: int) -> ScheduleValue:
    """The one-cycle policy (L. Smith, 2018; fastai's form): lr rises along a cosine for a quarter of the steps, then
    falls to almost 0; momentum does the reverse."""
    if step / total < 0.25:
        progress = step / total / 0.25
        return ScheduleValue(_cosine(1 / 25, 1.0, progress), _cosine(0.95, 0.85, progress))
    progress = (step / total - 0.25) / (1 - 0.25)
    return ScheduleValue(_cosine(1.0, 1e-5, progress), _cosine(0.85, 0.95, progress))


def _cosine(first: float, last: float, progress: float) -> float:
    return last + (first - last) * (1 + math.cos(math.pi * progress)) / 2


def set_lr(optimizer: Optimizer, lr: float, momentum: float | None = None) -> None:
    """Set the learning rate of the next step, times a group's ``lr_scale``, and the momentum (Adam's first beta)."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_scale", 1.0)
        if momentum is not None and group.get("momentum"):
            group["momentum"] = momentum
        elif momentum is not None and "betas" in group:
            group["betas"] = (momentum, group["betas"][1])


SCHEDULES: dict[str, Schedule] = {"onecycle": one_cycle, "flat": flat}
