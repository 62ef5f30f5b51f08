"""Lesson 9: what it must reach, and wrong answers to its exercises."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from underhood.scratch import sgd


def still_broken(model: sgd.Model, dl: sgd.Batches, lr: float, params: Any) -> None:
    """Two of the three faults repaired: the gradients are not zeroed."""
    for xb, yb in dl:
        sgd.mnist_loss(model(xb), yb).backward()
        for p in params:
            p.data -= p.grad * lr


WRONG = {
    "shape": (64, 1),
    "lowest": 0.0,
    "diagnosis": {
        "A": "batches not shuffled",
        "B": "accidental broadcast",
        "C": "gradients not zeroed",
        "D": "sigmoid twice",
        "E": "forgotten step",
    },
    "gradients_arrive": lambda params: all(p.grad is not None for p in params),
    "repaired": still_broken,
}


def reached(d: Mapping[str, Any], mnist: bool) -> bool:
    """With MNIST each fault looks as described; without it, the healthy loop is healthy."""
    healthy = d["broken"]["healthy"]
    return bool(
        healthy > (0.965 if mnist else 0.9)
        and d["by_heart"]["healthy"] < 0.02
        and np.isnan(d["by_hand"].grad.item())
        and np.isfinite(d["by_torch"].grad.item())
        and (not mnist or (faults_look_as_described(d["results"]) and others_look_as_described(d)))
    )


def faults_look_as_described(results: Mapping[str, tuple[list[float], float]]) -> bool:
    """The effect of each fault on the losses and on the accuracy."""
    losses = {name: np.array(values) for name, (values, _) in results.items()}
    right = {name: accuracy for name, (_, accuracy) in results.items()}
    steps = {name: int(np.isfinite(values).sum()) for name, values in losses.items()}  # before nan
    healthy, late = losses["healthy"], slice(len(losses["healthy"]) // 2, None)
    doubled, fast = losses["gradients not zeroed"], losses["learning rate far too high"]
    sorted_, twice = losses["batches not shuffled"], losses["sigmoid twice"]
    broadcast, still = losses["accidental broadcast"], losses["forgotten step"]
    early = slice(3, steps["gradients not zeroed"])
    return bool(
        0.4 < healthy[0] < 0.6
        and healthy[late].max() < 0.12
        and 6 < steps["gradients not zeroed"] < 40
        and doubled[early].mean() < healthy[early].mean()  # faster at first
        and steps["learning rate far too high"] <= 4 < steps["gradients not zeroed"]
        and np.isnan(fast[-1])
        and sorted_[late].max() > 0.95
        and sorted_[late].min() < 0.05
        and 0.4 < twice[0] < 0.6
        and 0.36 < twice[late].min() < twice[late].mean() < 0.42
        and abs(broadcast.mean() - 0.5) < 0.03
        and abs(broadcast[late].mean() - 0.5) < 0.03
        and abs(still[late].mean() - still[: len(still) // 2].mean()) < 0.02
        and np.array_equal(losses["measured on training images"], healthy)
        and right["measured on training images"] > right["healthy"] + 0.01
        and max(right[name] for name in list(results)[1:-1]) < 0.6
    )


def others_look_as_described(d: Mapping[str, Any]) -> bool:
    """The same faults with torch's sigmoid, the test with one batch, and the curves of the exercise."""
    losses = {name: np.mean(values[-20:]) for name, (values, _) in d["safe_results"].items()}
    errors = {name: 1 - accuracy for name, (_, accuracy) in d["safe_results"].items()}
    passed = [name for name, loss in d["by_heart"].items() if loss < 0.02]
    cases = {letter: (start, end) for letter, (_, _, end, start) in d["cases"].items()}
    return bool(
        min(losses["gradients not zeroed"], losses["learning rate far too high"]) > 1.5 * losses["healthy"]
        and min(errors["gradients not zeroed"], errors["learning rate far too high"]) > 1.4 * errors["healthy"]
        and passed == ["healthy", "batches not shuffled", "measured on training images"]
        and [start == end for start, end in cases.values()] == [False, True, False, True, False]
    )
