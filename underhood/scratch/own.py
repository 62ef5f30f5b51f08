"""A small library of one's own: modules, an optimizer and a Learner, as lesson 11 builds them.

Each class does what its namesake in ``torch.nn``, ``torch.optim`` or ``core/learner.py`` does, without the options.
The first question for further research of fastbook's chapter 4 asks for such a Learner.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import torch
from torch import Tensor


class Module(Protocol):
    """What a model or a part of one must offer; so do the modules of torch."""

    def __call__(self, x: Tensor) -> Tensor:
        """From inputs [n, …] to outputs [n, …]."""

    def parameters(self) -> Iterable[Tensor]:
        """The tensors that training changes, of any shape."""


class Linear:
    """``torch.nn.Linear``: each output is a weighted sum of all inputs, plus a bias.

    weight: [outputs, inputs]; bias: [outputs]; both random between ±1/√inputs, as in torch
    """

    def __init__(self, inputs: int, outputs: int):
        limit = inputs**-0.5
        self.weight = limit * (2 * torch.rand(outputs, inputs) - 1)
        self.bias = limit * (2 * torch.rand(outputs) - 1)
        for p in self.parameters():
            p.requires_grad_()

    def __call__(self, x: Tensor) -> Tensor:
        """[n, inputs] to [n, outputs]."""
        return x @ self.weight.T + self.bias

    def parameters(self) -> list[Tensor]:
        """Weight [outputs, inputs] and bias [outputs]."""
        return [self.weight, self.bias]


class ReLU:
    """``torch.nn.ReLU``: negative numbers become 0. It has no parameters."""

    def __call__(self, x: Tensor) -> Tensor:
        """Of any shape, which stays."""
        return x.clamp(min=0)

    def parameters(self) -> list[Tensor]:
        """There are none: []."""
        return []


class Sequential:
    """``torch.nn.Sequential``: modules one after another, each of which gets what the one before it returns."""

    def __init__(self, *modules: Module):
        self.modules = modules

    def __call__(self, x: Tensor) -> Tensor:
        """[n, inputs of the first] to [n, outputs of the last]."""
        for module in self.modules:
            x = module(x)
        return x

    def parameters(self) -> list[Tensor]:
        """The parameters of all modules, [outputs, inputs] and [outputs] of each linear one."""
        return [p for module in self.modules for p in module.parameters()]


class SGD:
    """``torch.optim.SGD`` without its options."""

    def __init__(self, params: Iterable[Tensor], lr: float):
        self.params, self.lr = list(params), lr

    def step(self) -> None:
        """Move each parameter by lr times its gradient, downhill."""
        for p in self.params:
            if p.grad is not None:
                p.data -= self.lr * p.grad

    def zero_grad(self) -> None:
        """Forget the gradients, to which ``backward`` would add."""
        for p in self.params:
            p.grad = None


class Learner:
    """A model, its data, and how it is trained.

    dls: an object with batches (xb, yb) as ``train`` and as ``valid``, such as ``DataLoaders``
    calc_grad: adds a batch's gradient to each parameter's: a function (xb, yb, model), such as ``sgd.calc_grad``
    opt_func: makes the optimizer: a function (parameters, lr), such as ``SGD``
    metric: a function (predictions, yb) → mean over the batch []
    """

    def __init__(
        self, dls: Any, model: Module, calc_grad: Callable[[Tensor, Tensor, Module], None],
        opt_func: Callable[[Iterable[Tensor], float], Any], metric: Callable[[Tensor, Tensor], Tensor],
    ):  # fmt: skip
        self.dls, self.model, self.calc_grad = dls, model, calc_grad
        self.opt_func, self.metric = opt_func, metric

    def epochs(self, epochs: int, lr: float) -> Iterator[float]:
        """Train, and yield the metric after each epoch."""
        opt = self.opt_func(self.model.parameters(), lr)
        for _ in range(epochs):
            for xb, yb in self.dls.train:
                self.calc_grad(xb, yb, self.model)
                opt.step()
                opt.zero_grad()
            yield self.validate()

    def fit(self, epochs: int, lr: float) -> list[float]:
        """Train, and return the metric after each epoch."""
        return list(self.epochs(epochs, lr))

    def validate(self) -> float:
        """The mean of the metric over all validation images."""
        total, count = 0.0, 0
        with torch.no_grad():
            for xb, yb in self.dls.valid:
                total += self.metric(self.model(xb), yb).item() * len(yb)
                count += len(yb)
        return total / count
