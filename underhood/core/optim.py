"""torch's optimizers by name, as functions (parameters, lr=…): fused, all in one pass, a tenth of the time."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw": partial(torch.optim.AdamW, fused=True),
    "adam": partial(torch.optim.Adam, fused=True),
    "sgd": partial(torch.optim.SGD, momentum=0.9, nesterov=True, fused=True),
}


def set_rate(optimizer: torch.optim.Optimizer, lr: float, momentum: float | None = None) -> None:
    """Set the learning rate of the next step and, where the optimizer has one, its momentum (Adam's first beta)."""
    for group in optimizer.param_groups:
        group["lr"] = lr
        if momentum is None:
            continue
        if group.get("momentum"):
            group["momentum"] = momentum
        elif "betas" in group:
            group["betas"] = (momentum, group["betas"][1])


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[int, dict[str, Any]]) -> None:
    """Take over what an optimizer of the same kind knew of each parameter.

    Each tensor is laid out as its parameter is: torch takes them as stored, and another order may round otherwise.
    """
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    for parameter, known in optimizer.state.items():
        for name, value in known.items():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                known[name] = torch.empty_like(parameter).copy_(value)
