"""Lesson 10: what it must reach, and wrong answers to its exercises."""

from collections.abc import Mapping
from typing import Any

import numpy as np

WRONG = {
    "alarms": 0.24,
    "step_taken": lambda before, after, gradient, lr: ((before - after).norm() / (lr * gradient).norm()).item(),
    "diagnosis": {"D": "learning rate far too high", "E": "healthy", "F": "gradients not zeroed"},
    "verdict": lambda number, controls: "fine" if min(controls) <= number <= max(controls) else "found",
    "ills": {"A": "border", "B": "labels-swapped-in-validation", "C": "rotated-in-validation"},
}


def reached(d: Mapping[str, Any], mnist: bool) -> bool:
    """Watching changes nothing, each fault has its number, controls vary as described, and the doctor agrees."""
    low, high = d["normal"]["share of 3s"]
    return bool(
        d["untouched"]
        and d["seen"]["accuracy"] > 0.95
        and all_told_apart(d["charts"])
        and low < 0.4
        and high > 0.6
        and np.allclose(d["normal"]["moved, second step"], 1, atol=0.01)
        and d["normal"]["targets met"] == (1, 1)
        and d["normal"]["trained on"] == (0, 0)
        and d["normal"]["largest score"][0] > 1
        and 0.002 < np.ptp(d["accuracies"]) < 0.05
        and min(d["accuracies"]) - 0.002 <= np.median(d["others"]) <= max(d["accuracies"]) + 0.002
        and round(d["all_pass"], 2) == 0.29
        and [one["check"] for one in d["serious"] if one["verdict"] == "found"] == ["broadcast"]
        and "each of the 30 predictions meets every target" in d["serious"][0]["evidence"]
        and (not mnist or d["charts"]["batches not shuffled"]["moved, second step"] != 1)
    )


def all_told_apart(charts: Mapping[str, Mapping[str, float]]) -> bool:
    """The one number of each fault that the text names."""
    steps = {name: chart["moved, second step"] for name, chart in charts.items()}
    return bool(
        abs(steps["healthy"] - 1) < 0.01
        and steps["gradients not zeroed"] > 1.3
        and steps["forgotten step"] == 0
        and np.isnan(steps["learning rate far too high"])
        and [name for name, chart in charts.items() if chart["share of 3s"] == 1] == ["batches not shuffled"]
        and [name for name, chart in charts.items() if chart["targets met"] > 1] == ["shapes that do not fit"]
        and [name for name, chart in charts.items() if chart["largest score"] <= 1] == ["sigmoid twice"]
        and [name for name, chart in charts.items() if chart["trained on"]] == ["measured on training images"]
    )
