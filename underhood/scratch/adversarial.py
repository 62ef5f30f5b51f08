"""Adversarial examples: the weights stay as they are, and the gradient of the loss steps the pixels instead.

``fgsm`` is the fast gradient sign method of Goodfellow, Shlens and Szegedy ("Explaining and Harnessing Adversarial
Examples", 2014), ``step_pixels`` the same in several small steps, uphill or downhill. A model here is any function from
images [n, c, h, w], with pixels from 0 to 1, to logits [n, classes]. Neither function changes the model's parameters or
their ``grad``.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Model = Callable[[Tensor], Tensor]


def image_gradient(model: Model, x: Tensor, y: Tensor) -> Tensor:
    """The gradient of the loss, the mean cross-entropy, for each pixel of the images x [n, c, h, w]: of the same shape.

    y: labels [n]
    """
    x = x.detach().requires_grad_()
    loss = F.cross_entropy(model(x), y)
    return torch.autograd.grad(loss, x)[0]


def fgsm(model: Model, x: Tensor, y: Tensor, eps: float) -> Tensor:
    """Move each pixel by ``eps`` in the direction that raises the loss: images like x [n, c, h, w], within 0 to 1.

    y: labels [n]
    """
    return (x + eps * image_gradient(model, x, y).sign()).clamp(0, 1)


def step_pixels(model: Model, x: Tensor, y: Tensor, eps: float, steps: int = 10, way: int = 1) -> Tensor:
    """Move each pixel by at most ``eps`` in ``steps`` small steps, with a new gradient for each: like x [n, c, h, w].

    y: labels [n]; way: 1 raises their loss, −1 lowers it, which makes the images be taken for y
    """
    start = x
    for _ in range(steps):
        x = x + way * 2 * eps / steps * image_gradient(model, x, y).sign()
        x = x.clamp(start - eps, start + eps).clamp(0, 1)
    return x
