"""Stochastic gradient descent by hand: fastbook's chapter 4, in its order and under its names.

Where a cell of the chapter uses a variable from further up the page, these functions take it as an argument.
``core/learner.py`` has the same loop as a class. A model here is any function from a batch ``xb`` [n, pixels] to
predictions [n, 1]; ``functools.partial(linear1, weights=…, bias=…)`` makes one.
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
    """Mean absolute difference of images, over their last two axes: [..., h, w] and [..., h, w] to [...]."""
    return (a - b).abs().mean((-1, -2))


def is_3(x: Tensor, mean3: Tensor, mean7: Tensor) -> Tensor:
    """Whether each image [..., h, w] is nearer to the ideal 3, mean3 [h, w], than to the ideal 7, mean7: bool [...]."""
    return mnist_distance(x, mean3) < mnist_distance(x, mean7)


# -- From similarity to learning: an image times weights is a score


def pr_eight(x: Tensor, w: Tensor) -> Tensor:
    """How much the image x speaks for an 8: each pixel times its weight in w, added up, []. Both of one shape.

    The chapter's name promises a probability, but the result may be any number; ``sigmoid`` makes it one.
    """
    return (x * w).sum()


def try_each(loss_of: Callable[[Tensor], Tensor], weights: Tensor, size: float) -> Tensor:
    """Which way each of the weights [h, w] should go, found by trying both: 1 up, −1 down, 0 if neither is better.

    Computes two losses for each weight, with that one changed by ``size``, up and down, and the others as they are.
    """
    weights, directions = weights.clone(), torch.zeros_like(weights)
    for row in range(weights.shape[0]):
        for column in range(weights.shape[1]):
            kept = weights[row, column].item()
            weights[row, column] = kept + size
            up = loss_of(weights)
            weights[row, column] = kept - size
            down = loss_of(weights)
            weights[row, column] = kept
            directions[row, column] = (down - up).sign()
    return directions


# -- Gradients, and stepping with a learning rate


def quadratic(x: Tensor) -> Tensor:
    """x² for each number, in any shape: the function to minimise. Its minimum is at 0."""
    return x**2


def slope(x: Tensor) -> Tensor:
    """The derivative of ``quadratic``, 2x, in any shape."""
    return 2 * x


def descend(x: float, lr: float, steps: int) -> list[float]:
    """Gradient descent on ``quadratic``: the start and the place after each of ``steps`` steps, [steps + 1].

    Each step multiplies x by 1 − 2·lr. A learning rate of 0.01 is slow, 0.1 converges, 0.9 converges while jumping from
    side to side, 1.0 oscillates forever, and 1.1 diverges.
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
    """Steps 2 to 5 of the chapter's seven: predict, loss, gradient, step. Changes ``params``; returns the loss.

    time and speed: [n]; params: [3]. (Step 1 initialized the parameters; step 6 calls this again; step 7 stops.)
    """
    loss = mse(speed_at(time, params), speed)
    loss.backward()
    params.data -= lr * params.grad.data
    params.grad = None
    return loss.item()


# -- A loss for digits


def init_params(size: int | Sequence[int], std: float = 1.0) -> Tensor:
    """Normally distributed parameters of mean 0 and standard deviation ``std``, [size] or of the shape ``size``."""
    return (torch.randn(size) * std).requires_grad_()


def linear1(xb: Tensor, weights: Tensor, bias: Tensor) -> Tensor:
    """The linear model: xb [n, pixels], weights [pixels, 1], bias [1] to [n, 1]."""
    return xb @ weights + bias


def sigmoid(x: Tensor) -> Tensor:
    """Map numbers of any shape to numbers between 0 and 1, in the same order."""
    return 1 / (1 + torch.exp(-x))


def mnist_loss_of_probabilities(predictions: Tensor, targets: Tensor) -> Tensor:
    """The chapter's first ``mnist_loss``: the mean distance of predictions, 0 to 1, from targets, 0 or 1.

    Both [n, 1].
    """
    return torch.where(targets == 1, 1 - predictions, predictions).mean()


def mnist_loss(predictions: Tensor, targets: Tensor) -> Tensor:
    """The chapter's second ``mnist_loss``: the first after a sigmoid, so for any predictions. Both [n, 1]."""
    return mnist_loss_of_probabilities(sigmoid(predictions), targets)


# -- Mini-batches: the training loop


def calc_grad(xb: Tensor, yb: Tensor, model: Model) -> None:
    """Add the gradient of this batch's loss to each parameter's ``grad``, which must be set to zero after the step.

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
    """The fraction of predictions [n, 1] that are right: sigmoid(prediction) > 0.5 means 1. yb: targets [n, 1]."""
    correct = (sigmoid(preds) > 0.5) == yb
    return correct.float().mean()


@torch.no_grad()
def validate_epoch(model: Model, valid_dl: Batches) -> float:
    """The mean of the batches' accuracies, to four digits.

    As in the chapter, a short last batch counts as much as a full one; ``Learner.validate`` weights batches by size.
    """
    accs = [batch_accuracy(model(xb), yb) for xb, yb in valid_dl]
    return round(torch.stack(accs).mean().item(), 4)


# -- Creating an optimizer


class BasicOptim:
    """``torch.optim.SGD`` without its options: each parameter moves by lr times its gradient, downhill."""

    def __init__(self, params: Iterable[Tensor], lr: float):
        self.params, self.lr = list(params), lr

    def step(self) -> None:
        """Update each parameter from its gradient."""
        for p in self.params:
            p.data -= p.grad.data * self.lr

    def zero_grad(self) -> None:
        """Reset the gradients: ``backward`` adds to them."""
        for p in self.params:
            p.grad = None


def train_model(model: Model, dl: Batches, opt: Any, epochs: int, validate: Callable[[Model], T]) -> list[T]:
    """Train with an optimizer, ``BasicOptim`` or one of torch's. Returns what ``validate`` returned after each epoch.

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
    """Two linear layers with a ReLU between them: xb [n, pixels], w1 [pixels, 30], w2 [30, 1] to [n, 1]."""
    res = xb @ w1 + b1
    res = res.max(torch.tensor(0.0))
    return res @ w2 + b2


# -- Questionnaire: the questions that are answered by code


def odd_doubled(numbers: Iterable[int]) -> list[int]:
    """Question 4: the odd numbers, doubled, by a list comprehension. [1, 2, 3] to [2, 6]."""
    return [2 * number for number in numbers if number % 2 == 1]


def doubled_corner() -> Tensor:
    """Question 9: 1 to 9 as a 3 × 3 tensor, doubled, its bottom right four: [[10, 12], [16, 18]]."""
    return (torch.arange(1, 10).reshape(3, 3) * 2)[1:, 1:]


def pairs(a: Sequence[Any], b: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Question 26: [1, 2] and 'ab' to [(1, 'a'), (2, 'b')]: tuples of input and target, a ``Dataset``."""
    return list(zip(a, b, strict=True))


def relu(x: Tensor) -> Tensor:
    """Question 34: replace negative numbers by 0, in any shape. −2 … 2 gives 0 0 0 1 2."""
    return x.clamp(min=0)
