"""Lesson 17: what it must reach, and wrong answers to its exercises."""

from collections.abc import Mapping
from typing import Any

import torch

WRONG = {
    "even": 0.1,
    "step": "crop",
    "recalls": lambda confusion: confusion.diagonal() / confusion.sum(dim=0),
    "answer_or_reject": lambda probabilities, threshold: probabilities.argmax(dim=1),
}


def reached(d: Mapping[str, Any], mnist: bool) -> bool:
    """The accuracy, what the preparation gains, and confidence in images that show no digit."""
    confused = d["confusion"]
    frozen = [p.requires_grad for p in d["transferred"].parameters()]
    strange = [float(p.max()) for p in d["strange_answers"].values()]
    rejected = float((d["letter_confidence"] < d["usual"]).float().mean())
    return (
        d["accuracy"] > 0.96
        and int(confused.sum()) == len(d["labels"])
        and abs(float(confused.diagonal().sum() / confused.sum()) - d["accuracy"]) < 1e-6
        and d["prepared"] >= (17 if mnist else 9)
        and d["prepared"] > d["bare"]
        and sum(frozen) == 2
        and max(strange) > (0.9 if mnist else 0.7)
        and all(abs(float(p.sum()) - 1) < 1e-4 for p in d["strange_answers"].values())
        and torch.isfinite(d["letter_confidence"]).all().item()
        and 0 < rejected < 1
    )
