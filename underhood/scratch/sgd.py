"""Stochastic gradient descent by hand: fastbook's chapter 4, in its order and under its names.

Where the chapter's cells reach for a variable further up the page, these functions take it as an argument. ``scratch``
has the ideas written out; ``underhood.training`` has the same loop as software. A model here is any function from a
batch ``xb`` [n, pixels] to predictions [n, 1]; ``functools.partial(linear1, weights=…, bias=…)`` makes one.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")
Model = Callable[[Tensor], Tensor]
Batches = Iterable[tuple[Tensor, Tensor]]

# -- First try: pixel similarity


def mnist_distance(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference of pictures, over their last two axes: [..., h, w] and [..., h, w] to [...]."""
    return (a - b).abs().mean((-1, -2))


def is_3(x: Tensor, mean3: Tensor, mean7: Tensor) -> Tensor:
    """Whether each picture [..., h, w] is nearer to the ideal 3 than to the ideal 7 [h, w]: bool [...]."""
    return mnist_distance(x, mean3) < mnist_distance(x, mean7)


# -- Gradients, and stepping with a learning rate


def quadratic(x: Tensor) -> Tensor:
    """The function whose lowest point, at 0, descent should find: of each number, in any shape."""
    return x**2


def slope(x: Tensor) -> Tensor:
    """The quadratic's derivative, in any shape, by the rule that school teaches; autograd must agree."""
    return 2 * x


def descend(x: float, lr: float, steps: int) -> list[float]:
    """Where ``steps`` steps down the quadratic lead: the start and each place after it.

    Each step multiplies x by 1 − 2·lr. So a rate of 0.01 creeps, 0.1 arrives, 0.9 bounces from side to side on its way
    down, 1.0 bounces for ever, and 1.1 climbs away.
    """
    places = [float(x)]
    for _ in range(steps):
        places.append(places[-1] - lr * 2 * places[-1])
    return places


# -- An end-to-end example: the roller coaster's speed as a quadratic of time


def speed_at(t: Tensor, params: Tensor) -> Tensor:
    """a·t² + b·t + c for params [3], at times of any shape."""
    a, b, c = params
    return a * (t**2) + (b * t) + c


def mse(preds: Tensor, targets: Tensor) -> Tensor:
    """Mean squared error, []. Both of one shape."""
    return ((preds - targets) ** 2).mean()


def apply_step(time: Tensor, speed: Tensor, params: Tensor, lr: float = 1e-5) -> float:
    """Steps 2 to 5 of seven: predict, measure the loss, find its slope, step. Changes ``params``; returns the loss.

    time and speed: [n]; params: [3]. (Step 1 chose the parameters; step 6 calls this again; step 7 stops.)
    """
    loss = mse(speed_at(time, params), speed)
    loss.backward()
    params.data -= lr * params.grad.data
    params.grad = None
    return loss.item()


# -- A loss for digits


def init_params(size: int | Sequence[int], std: float = 1.0) -> Tensor:
    """Random numbers around 0 with deviation ``std`` that will be learned, [size] or of any shape given as ``size``."""
    return (torch.randn(size) * std).requires_grad_()


def linear1(xb: Tensor, weights: Tensor, bias: Tensor) -> Tensor:
    """xb [n, pixels], weights [pixels, 1], bias [1]: [n, 1]."""
    return xb @ weights + bias


def sigmoid(x: Tensor) -> Tensor:
    """Numbers of any shape to ones between 0 and 1, in the order they had."""
    return 1 / (1 + torch.exp(-x))


def mnist_loss_of_probabilities(predictions: Tensor, targets: Tensor) -> Tensor:
    """The chapter's first ``mnist_loss``: the mean distance of predictions, 0 to 1, from targets, 0 or 1.

    Both [n, 1].
    """
    return torch.where(targets == 1, 1 - predictions, predictions).mean()


def mnist_loss(predictions: Tensor, targets: Tensor) -> Tensor:
    """The chapter's second ``mnist_loss``: of any predictions, by way of sigmoid. Both [n, 1]."""
    return mnist_loss_of_probabilities(sigmoid(predictions), targets)


# -- Mini-batches: the training loop


def calc_grad(xb: Tensor, yb: Tensor, model: Model) -> None:
    """Add the slope of this batch's loss to each parameter's ``grad``. (Add: someone must zero it after the step.)

    xb [n, pixels]; yb [n, 1]
    """
    loss = mnist_loss(model(xb), yb)
    loss.backward()


def train_epoch(model: Model, dl: Batches, lr: float, params: Iterable[Tensor]) -> None:
    """One pass over the batches, xb [n, pixels] and yb [n, 1], a step each. Changes ``params``, of any shape."""
    params = list(params)
    for xb, yb in dl:
        calc_grad(xb, yb, model)
        for p in params:
            p.data -= p.grad * lr
            p.grad.zero_()


def batch_accuracy(preds: Tensor, yb: Tensor) -> Tensor:
    """The fraction of predictions [n, 1] on the right side of a half, after sigmoid."""
    correct = (sigmoid(preds) > 0.5) == yb
    return correct.float().mean()


@torch.no_grad()
def validate_epoch(model: Model, valid_dl: Batches) -> float:
    """The mean of the batches' accuracies, to four digits.

    As the chapter takes it, so a short last batch weighs as much as a whole one. ``Learner.validate`` weighs by count.
    """
    accs = [batch_accuracy(model(xb), yb) for xb, yb in valid_dl]
    return round(torch.stack(accs).mean().item(), 4)


# -- Creating an optimizer


class BasicOptim:
    """What ``torch.optim.SGD`` does without its options: each parameter goes lr times its slope downhill."""

    def __init__(self, params: Iterable[Tensor], lr: float):
        self.params, self.lr = list(params), lr

    def step(self) -> None:
        """Go downhill, once."""
        for p in self.params:
            p.data -= p.grad.data * self.lr

    def zero_grad(self) -> None:
        """Forget the slopes: the next ones would be added to them."""
        for p in self.params:
            p.grad = None


def train_model(model: Model, dl: Batches, opt: Any, epochs: int, validate: Callable[[Model], T]) -> list[T]:
    """Train with an optimizer, this one or torch's; what ``validate`` says after each epoch.

    validate: for instance ``partial(validate_epoch, valid_dl=…)``
    """
    reached = []
    for _ in range(epochs):
        for xb, yb in dl:
            calc_grad(xb, yb, model)
            opt.step()
            opt.zero_grad()
        reached.append(validate(model))
    return reached


# -- Adding a nonlinearity


def simple_net(xb: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
    """Two linear layers with a bend between them: xb [n, pixels], w1 [pixels, 30], w2 [30, 1] to [n, 1]."""
    res = xb @ w1 + b1
    res = res.max(torch.tensor(0.0))
    return res @ w2 + b2
