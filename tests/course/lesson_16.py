"""Lesson 16: what it must reach, and wrong answers to its exercises."""

from collections.abc import Mapping
from typing import Any

WRONG = {
    "three_pixels": (-0.1, 0.6, 1.05),
    "growth": 0.0,
    "one_step_towards": lambda model, x, target, eps: x,
    "smallest_eps": lambda model, image, label, epsilons: None,
}


def reached(d: Mapping[str, Any], mnist: bool) -> bool:
    """Images are deceived by the gradient and not by noise, and adversarial training helps."""
    at = d["EPSILONS"].index(0.1)
    curves = d["curves"]
    return bool(
        d["clean"]["conv"] > 0.92
        and d["clean"]["linear"] > 0.8
        and curves["conv, random signs"][at] > d["clean"]["conv"] - 0.05
        and curves["conv, FGSM"][at] < curves["conv, random signs"][at] - 0.2
        and d["compared"]["hardened"][2] > d["compared"]["ordinary"][2] + 0.1
        and d["believed"].min() > 0.9
        and d["became_threes"] > 0.6
        and d["handed_over"] < d["clean"]["conv"] - 0.2
    )
