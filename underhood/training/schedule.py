"""Learning-rate schedules: pure functions of the step, so that a run can go on from any step.

A schedule takes (step, total steps) and gives the fraction of the highest rate at which that step is taken, 0 to 1.
"""

import math
from collections.abc import Callable

Schedule = Callable[[int, int], float]


def flat(step: int, total: int) -> float:  # noqa: ARG001 (every schedule has both)
    """The same rate at every step."""
    return 1.0


def one_cycle(step: int, total: int, warm: float = 0.25, start: float = 1 / 25, end: float = 1e-5) -> float:
    """Up along a cosine over the first quarter, then down to almost nothing (L. Smith, 2018; fastai's shape)."""
    done = step / total
    if done < warm:
        return _cosine(start, 1.0, done / warm)
    return _cosine(1.0, end, (done - warm) / (1 - warm))


def _cosine(first: float, last: float, done: float) -> float:
    return last + (first - last) * (1 + math.cos(math.pi * done)) / 2


SCHEDULES: dict[str, Schedule] = {"onecycle": one_cycle, "flat": flat}
