"""Two things timed in turn, in one run, so that a machine whose speed drifts drifts for both."""

import json
import statistics
import time
from collections.abc import Callable


def in_turn(ours: Callable[[], object], theirs: Callable[[], object], goal: float, n: int = 7) -> int:
    """Time both n times in turn after one warm-up of each; the last line printed is JSON. Seconds; ratio of medians.

    Returns an exit code: 1 where the ratio misses the goal.
    """
    ours(), theirs()
    times: tuple[list[float], list[float]] = [], []
    for _ in range(n):
        for function, seconds in ((ours, times[0]), (theirs, times[1])):
            start = time.perf_counter()
            function()
            seconds.append(time.perf_counter() - start)
    figures = {
        f"{name}_{what}": round(value(seconds), 4)
        for name, seconds in zip(("ours", "theirs"), times, strict=True)
        for what, value in (("median", statistics.median), ("mean", statistics.mean), ("deviation", statistics.stdev))
    }
    ratio = statistics.median(times[0]) / statistics.median(times[1])
    print(json.dumps({"n": n, **figures, "ratio": round(ratio, 3), "goal": goal, "met": ratio <= goal}))
    return 0 if ratio <= goal else 1
