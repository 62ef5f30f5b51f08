"""Lesson 6: what it must reach, and wrong answers to its exercises."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

WRONG = {
    "slowest": 0,
    "mae": lambda preds, targets: ((preds - targets) ** 2).mean(),
    "scaled_rate": 10,
    "fit_line": lambda x, y, lr, steps: torch.zeros(2),
}
TEN_LOSSES = [
    5435.53662109375, 1577.4495849609375, 847.3780517578125, 709.22265625, 683.0757446289062,
    678.12451171875, 677.1839599609375, 677.0025024414062, 676.96435546875, 676.9537353515625,
]  # fmt: skip


def reached(d: Mapping[str, Any], mnist: bool) -> bool:
    """The book's figures, which do not depend on MNIST."""
    return (
        np.allclose([d["first_loss"], d["after_one"]], [25823.8086, 5435.5366], rtol=1e-6)
        and np.allclose(d["gradient"], [-53195.8594, -3419.7146, -253.8908], rtol=1e-6)
        and np.allclose(d["moved"] - d["start"], [0.5320, 0.0342, 0.0025], atol=1e-4)
        and np.allclose(d["start"], [-0.7658, -0.7506, 1.3525], atol=1e-4)
        and np.allclose(d["ten_losses"], TEN_LOSSES, rtol=1e-6)
        and d["best_loss"] < 20 < 600 < d["final_loss"] < 700
        and min(d["forgotten"]) < d["forgotten"][-1]
    )
