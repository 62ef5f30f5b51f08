"""Schedules: pure functions of the step, so that a run can go on from any step.

A schedule takes (step, total steps) and gives the fraction of the highest rate at which that step is taken, 0 to 1, and
the momentum, or None for the optimizer's own.
"""

import math
from collections.abc import Callable
from typing import NamedTuple


class Pace(NamedTuple):
    """How a step is taken: ``rate`` as a fraction of the highest, ``momentum`` 0 to 1."""

    rate: float
    momentum: float | None = None


Schedule = Callable[[int, int], Pace]


def flat(step: int, total: int) -> Pace:  # noqa: ARG001 (every schedule has both)
    """The same rate at every step."""
    return Pace(1.0)


def one_cycle(
    step: int,
    total: int,
    warm: float = 0.25,
    start: float = 1 / 25,
    end: float = 1e-5,
    momentum: tuple[float, float] = (0.95, 0.85),
) -> Pace:
    """Up along a cosine over the first quarter, then down to almost nothing (L. Smith, 2018; fastai's shape).

    Momentum goes the other way, from its first value to its second and back: a high rate needs little.
    """
    done = step / total
    high, low = momentum
    if done < warm:
        return Pace(_cosine(start, 1.0, done / warm), _cosine(high, low, done / warm))
    done = (done - warm) / (1 - warm)
    return Pace(_cosine(1.0, end, done), _cosine(low, high, done))


def _cosine(first: float, last: float, done: float) -> float:
    return last + (first - last) * (1 + math.cos(math.pi * done)) / 2


SCHEDULES: dict[str, Schedule] = {"onecycle": one_cycle, "flat": flat}
