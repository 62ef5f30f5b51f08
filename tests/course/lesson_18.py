"""Lesson 18: what it must reach, and wrong answers to its exercises."""

from collections.abc import Mapping
from typing import Any

from torch import nn

WRONG = {"times": 18, "fit_one_epoch": lambda *_: 1.0, "ten_net": nn.Sequential(nn.Linear(784, 30), nn.Linear(30, 10))}


def reached(d: Mapping[str, Any], mnist: bool) -> bool:
    """All 37 questions, and what the code among the answers gives."""
    return (
        d["answered"] == list(range(1, 38))
        and min(d["loop_accuracy"], d["learner_accuracy"]) > (0.95 if mnist else 0.9)
        and d["odd_doubled"] == [2, 6, 10]
        and d["doubled_corner"].tolist() == [[10, 12], [16, 18]]
        and d["broadcast_shape"] == (1010, 28, 28)
        and d["zipped"] == [(1, "a"), (2, "b"), (3, "c"), (4, "d")]
        and d["view_and_product"] == ((6131, 784), (6131, 30))
        and d["added"] == [6, 12, 18]
    )
