"""Time several functions in turn, so that drifts in the machine's speed affect all of them, and report the ratios."""

import json
import statistics
import time
from collections.abc import Callable
from typing import Any

from underhood.core.images import Dataset


def in_turn(n: int, warm_up: bool = True, **functions: Callable[[], object]) -> dict[str, list[float]]:
    """Call each function n times, alternating, after one warm-up call: name → seconds of each call."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(-1 if warm_up else 0, n):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            if turn >= 0:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def train(data: Dataset, **options: Any) -> tuple[float, float]:
    """Train as ``underhood train`` does: (seconds from the call to the trained model, accuracy on the validation part).

    options: fields of ``TrainConfig``
    torch is imported here: the peak memory of a child process starts from its parent's.
    """
    import torch

    from underhood.core.schedule import SCHEDULES
    from underhood.data.read import LoadedData
    from underhood.preparation import Preparation
    from underhood.training.config import TrainConfig
    from underhood.training.recipe import choose_for
    from underhood.training.setup import make_learner

    config = TrainConfig(data.name, **options)
    loaded = LoadedData(data, Preparation(*data.train.pixels.shape[1:]), notes=[], warnings=[], left_out={})
    start = time.perf_counter()
    recipe = choose_for(data, config, config.model)
    learn = make_learner(loaded, recipe, config).learn
    for _ in learn.steps(recipe.epochs, recipe.lr, SCHEDULES[config.schedule]):
        pass
    if learn.device.type == "cuda":
        torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    return seconds, learn.validate()[1]


def summary(**measured: list[float]) -> dict[str, float]:
    """Mean and standard deviation of each list: keys NAME_mean and NAME_deviation."""
    return {
        f"{name}_{what}": round(value(values), 4)
        for name, values in measured.items()
        for what, value in (("mean", statistics.mean), ("deviation", statistics.stdev))
    }


def report(n: int, ratios: dict[str, tuple[float, float]], met: bool = True, **figures: Any) -> int:
    """Print the last line, JSON. ratios: name → (ratio, its upper limit); ``ratio`` is the one closest to its limit.

    met: whether the goals that are not ratios are met. Returns an exit code: 1 if a goal is missed.
    """
    worst = max(ratios, key=lambda name: ratios[name][0] / (ratios[name][1] or 1))
    met = met and all(ratio <= goal for ratio, goal in ratios.values())
    rounded = {
        name: {"ratio": float(f"{ratio:.3g}"), "goal": float(f"{goal:.3g}")} for name, (ratio, goal) in ratios.items()
    }
    print(json.dumps({"n": n, **figures, "ratios": rounded, "ratio": rounded[worst]["ratio"], "met": met}))
    return 0 if met else 1
