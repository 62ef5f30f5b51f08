"""Gradients three ways: by hand, by autograd, and by finite differences, which trust nobody.

A mistake in a hand-written backward pass travels from the loss towards the inputs, so layers are listed in that order
and the first that disagrees is where to look.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from underhood.scratch import backprop

Array = backprop.Array
Back = Callable[[Array, Array, Array, Array, Array], tuple[Array, Array]]

TOLERANCE = 1e-5  # of the largest slope in the layer; float64 leaves finite differences about 1e-8


class Layer(NamedTuple):
    """How far the hand-written gradient of a layer is from each witness, as a fraction of its largest slope."""

    name: str
    from_autograd: float
    from_differences: float

    @property
    def agrees(self) -> bool:
        """Whether both witnesses confirm it, to within ``TOLERANCE``."""
        return max(self.from_autograd, self.from_differences) <= TOLERANCE


def finite_differences(function: Callable[[], float], array: Array, step: float = 1e-5) -> Array:
    """The slope of ``function()`` for each number in ``array``, which is moved up and down by ``step`` and put back.

    array: of any shape; the slopes have the same

    function: reads ``array`` each time it is called. Two calls a number, so keep networks small, and in float64.
    """
    slopes = np.empty_like(array)
    for index in np.ndindex(array.shape):
        kept = array[index]
        array[index] = kept + step
        above = function()
        array[index] = kept - step
        slopes[index] = (above - function()) / (2 * step)
        array[index] = kept
    return slopes


def autograd(x: Array, y: Array, w1: Array, w2: Array) -> tuple[Array, Array]:
    """The gradients of chapter 11's loss for w1 [inputs + 1, hidden] and w2 [hidden + 1, classes] as torch finds them.

    x [n, inputs]; y one-hot [n, classes]
    """
    tensors = [torch.tensor(w, requires_grad=True) for w in (w1, w2)]
    ones = torch.ones(len(x), 1, dtype=tensors[0].dtype)
    h = torch.sigmoid(torch.cat([ones, torch.tensor(x)], dim=1) @ tensors[0])
    logits = torch.cat([ones, h], dim=1) @ tensors[1]
    torch.nn.functional.cross_entropy(logits, torch.tensor(y)).backward()
    first, second = (tensor.grad.numpy() for tensor in tensors if tensor.grad is not None)
    return first, second


def compare(x: Array, y: Array, w1: Array, w2: Array, back: Back = backprop.back) -> list[Layer]:
    """``back``'s gradients against both witnesses, layer by layer from the loss: w2, its bias row, w1, its bias row.

    x [n, inputs]; y one-hot [n, classes]; all become float64
    """
    x, y, w1, w2 = (np.array(a, np.float64) for a in (x, y, w1, w2))
    y_hat, h = backprop.forward(x, w1, w2)
    by_hand = back(x, y, y_hat, w2, h)
    by_autograd = autograd(x, y, w1, w2)

    def loss_now() -> float:
        return backprop.loss(y, backprop.forward(x, w1, w2)[0])

    by_differences = finite_differences(loss_now, w1), finite_differences(loss_now, w2)
    layers = []
    for name, weight, rows in (("w2", 1, slice(1, None)), ("w2 bias", 1, slice(0, 1)),
                               ("w1", 0, slice(1, None)), ("w1 bias", 0, slice(0, 1))):  # fmt: skip
        mine, torchs, differences = (g[weight][rows] for g in (by_hand, by_autograd, by_differences))
        scale = np.abs(differences).max()
        layers.append(Layer(name, np.abs(mine - torchs).max() / scale, np.abs(mine - differences).max() / scale))
    return layers


def first_disagreement(layers: list[Layer]) -> str | None:
    """The name of the first layer, from the loss on, whose hand-written gradient is wrong; None if all agree."""
    return next((layer.name for layer in layers if not layer.agrees), None)
