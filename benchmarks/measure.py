"""Things timed in turn, in one run, so that a machine whose speed drifts drifts for all of them."""

import json
import statistics
import time
from collections.abc import Callable
from typing import Any

from underhood.core.images import Dataset


def in_turn(n: int, warm_up: bool = True, **functions: Callable[[], object]) -> dict[str, list[float]]:
    """Call each function n times, one after the other, after one call that does not count: name → seconds of each."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(-1 if warm_up else 0, n):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            if turn >= 0:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def train(data: Dataset, **asked: Any) -> tuple[float, float]:
    """(seconds from the call to the trained model, its accuracy on the validation part), as ``underhood train`` has it.

    torch is imported here: a child's peak memory counts from its parent's.
    """
    import torch

    from underhood.core.schedule import SCHEDULES
    from underhood.training.config import Request
    from underhood.training.setup import choose_recipe, make_learner

    request = Request(data.name, **asked)
    start = time.perf_counter()
    recipe = choose_recipe(data, request, request.model)
    learn = make_learner(data, recipe, request).learn
    for _ in learn.steps(recipe.epochs, recipe.lr, SCHEDULES[request.schedule]):
        pass
    if learn.device.type == "cuda":
        torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    return seconds, learn.validate()[1]


def summary(**measured: list[float]) -> dict[str, float]:
    """Mean and deviation of each list, under its name."""
    return {
        f"{name}_{what}": round(value(values), 4)
        for name, values in measured.items()
        for what, value in (("mean", statistics.mean), ("deviation", statistics.stdev))
    }


def report(n: int, ratios: dict[str, tuple[float, float]], met: bool = True, **figures: Any) -> int:
    """Print the last line, JSON. ratios: name → (ratio, the most it may be); ``ratio`` is the one nearest its limit.

    met: whether what is not a ratio meets its goal. Returns an exit code: 1 where a goal is missed.
    """
    worst = max(ratios, key=lambda name: ratios[name][0] / (ratios[name][1] or 1))
    met = met and all(ratio <= goal for ratio, goal in ratios.values())
    said = {
        name: {"ratio": float(f"{ratio:.3g}"), "goal": float(f"{goal:.3g}")} for name, (ratio, goal) in ratios.items()
    }
    print(json.dumps({"n": n, **figures, "ratios": said, "ratio": said[worst]["ratio"], "met": met}))
    return 0 if met else 1
