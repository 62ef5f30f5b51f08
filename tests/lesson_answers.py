"""Answers to the lessons' exercises: right ones and wrong ones."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from underhood.scratch import sgd


def minimum(function: Callable[[torch.Tensor], torch.Tensor], x: float, rate: float, steps: int) -> float:
    at = torch.tensor(x)
    for _ in range(steps):
        at.requires_grad_()
        (slope,) = torch.autograd.grad(function(at), at)
        at = (at - rate * slope).detach()
    return at.item()


def one_epoch(model: sgd.Model, batches: sgd.Batches, lr: float, params: Any) -> None:
    for xb, yb in batches:
        sgd.calc_grad(xb, yb, model)
        for p in params:
            p.data -= lr * p.grad
            p.grad = None


class Momentum(sgd.BasicOptim):
    def step(self) -> None:
        self.speeds = getattr(self, "speeds", [torch.zeros_like(p) for p in self.params])
        for p, speed in zip(self.params, self.speeds, strict=True):
            speed.mul_(0.9).add_(p.grad)
            p.data -= self.lr * speed


def fit_one_epoch(model: nn.Module, batches: Any, loss_func: Any, lr: float) -> float:
    optimizer, losses = torch.optim.SGD(model.parameters(), lr), []
    for x, y in batches:
        loss = loss_func(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return sum(losses) / len(losses)


# lesson → name that the reader fills in → (a right answer, a wrong one), in the order of the checks
ANSWERS: dict[str, dict[str, tuple[Any, Any]]] = {
    "01": {
        "bottom_right": (torch.tensor([[10, 12], [16, 18]]), torch.zeros(2, 2)),
        "numbers": (921_600, 307_200),
        "upside_down": (lambda pictures: pictures.flip(1), lambda pictures: pictures.flip(2)),
    },
    "02": {
        "shape": ([5, 3, 4], [5, 3, 1]),
        "l2": (lambda a, b: ((a - b) ** 2).mean((-1, -2)).sqrt(), sgd.mnist_distance),
        "fraction": (None, 2.0),
    },
    "03": {"best_rate": (0.5, 1.0), "slope_of_cubic": (torch.tensor(6.0), 12), "minimum": (minimum, lambda *_: 4.0)},
    "04": {"scaled_rate": (0.3, 10), "slowest": (9.57, 0)},
    "05": {
        "distance": (0.7, 0.3),
        "steepest_sigmoid": (0.25, 1),
        "squared_loss": (lambda s, t: ((s.sigmoid() - t) ** 2).mean(), lambda s, t: ((s - t) ** 2).mean()),
    },
    "06": {
        "steps": (49, 48),
        "lowest": (0.3133, 0.0),
        "my_epoch": (one_epoch, lambda m, b, lr, p: one_epoch(m, b, 2 * lr, p)),
    },
    "07": {"Momentum": (Momentum, sgd.BasicOptim), "parameters": (784 * 30 + 30, 784 * 30)},
    "08": {
        "my_relu": (lambda x: torch.where(x > 0, x, torch.zeros(())), lambda x: x.abs()),
        "a_and_b": ((1, 1), (1, -1)),
        "two_bends": (
            nn.Sequential(nn.Linear(784, 30), nn.ReLU(), nn.Linear(30, 10), nn.ReLU(), nn.Linear(10, 1)),
            nn.Sequential(nn.Linear(784, 30), nn.Linear(30, 10), nn.Linear(10, 1)),
        ),
    },
    "09": {"both": ((400, 784 * 16 * 14 * 14), (400, 400)), "overlap": (True, False)},
    "10": {
        "slopes": ((0.2, -0.5, 0.3), (0.2, 0.5, 0.3)),
        "relu_gradient": (lambda h: h > 0, lambda h: h),
        "number": (10, 2.3),
    },
    "11": {
        "even": (2.302, 0.1),
        "my_softmax": (lambda s: s.exp() / s.exp().sum(1, keepdim=True), lambda s: s / s.sum(1, keepdim=True)),
        "step": ("polarity", "crop"),
    },
    "12": {"fit_one_epoch": (fit_one_epoch, lambda *_: 1.0), "factor": (3, 18)},
}  # fmt: skip
