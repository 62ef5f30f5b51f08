"""Lesson 15: what it must reach, and wrong answers to its exercises."""

from collections.abc import Mapping
from typing import Any

import numpy as np

WRONG = {
    "slopes": (0.2, 0.5, 0.3),
    "number": 48,
    "two_shapes": ((100, 30), (64, 30)),
    "relu_gradient": lambda h: h,
    "one_step": lambda x, y, w1, w2, rate: (w1, w2),
}


def reached(d: Mapping[str, Any], mnist: bool) -> bool:
    """With MNIST the book's first line; the mistakes are found, and what must fail fails."""
    gradients_agree = (
        np.allclose(d["by_multiplying"], d["by_moving"], atol=1e-8)
        and np.allclose(d["by_rule"], d["by_moving_logits"], atol=1e-8)
        and np.isnan(d["without_subtracting"]).any()
    )
    return bool(
        gradients_agree
        and d["reached"] > 0.8
        and list(d["all_found"].values()) == [None, "w2", "w2", "w1", "w1", "w1"]
        and d["symmetric"] < 0.5
        and d["spread_of_nodes"] < np.ptp(d["trained_w1"], axis=1).max() / 1000  # rounding, not learning
        and d["mean_slope"] < 0.05
        and d["sized"] < d["reached"] - 0.2
        and (not mnist or (round(d["first_line"][0], 6), round(d["first_line"][1], 4)) == (2.278717, 0.138))
    )
