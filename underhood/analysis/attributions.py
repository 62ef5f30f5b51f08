"""Why a model says what it says of a picture: what each pixel adds to a logit, and which training pictures are near.

Contributions are integrated gradients (Sundararajan, Taly and Yan, 2017): the gradient is summed along the straight way
from an empty picture, in the colour of this one's border, to the picture. They add up to the difference between the two
logits; for a linear model that is each pixel's weight times its distance from the empty picture, exactly.
"""

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from underhood.core.learner import evaluating
from underhood.core.loader import DataLoader, validation_batch

if TYPE_CHECKING:
    from underhood.core.images import Images

EXACT = 0.005  # of the difference of logits: the sum may miss it by so much
PLACES = 32, 2048  # on the way from the empty picture, at first and at most
AT_A_TIME = 2**18  # pixels


@dataclass(frozen=True)
class Contributions:
    """What each pixel adds to a logit.

    values: float64 [c, h, w], in logits; ``start + values.sum()`` is ``logit``, but for ``missing``
    start: the empty picture's logit; for a linear model the bias, the weights' share of the empty picture included
    """

    values: np.ndarray
    start: float
    logit: float

    @property
    def missing(self) -> float:
        """By how much the sum misses the logit, in logits."""
        return self.logit - self.start - float(self.values.sum())


def contributions(model: nn.Module, picture: np.ndarray, label: int) -> Contributions:
    """What each pixel of a picture, uint8 [c, h, w], adds to a label's logit.

    model: as ``build_model`` gives it, ``Normalize`` first. The way is cut into twice as many places until the sum is
    within half a percent of the difference, or has 2,048 of them.
    """
    normalize, *layers = copy.deepcopy(model).eval().children()
    network = nn.Sequential(*layers).requires_grad_(False)
    if not any(isinstance(module, nn.Conv2d) for module in network.modules()):
        network.double()  # costs nothing where there are only matrices, and ten times the time of a convolution
    pair = torch.from_numpy(np.stack([_empty(picture), picture]))
    empty, full = normalize(pair).to(next(network.parameters()).dtype)  # [c, h, w] each
    start, logit = network(torch.stack([empty, full]))[:, label].tolist()
    places, most = PLACES
    while True:
        values = (full - empty).double() * _mean_gradient(network, empty, full, label, places)
        found = Contributions(values.numpy(), start, logit)
        if abs(found.missing) <= EXACT * abs(logit - start) or places >= most:
            return found
        places *= 2


def _mean_gradient(network: nn.Module, empty: Tensor, full: Tensor, label: int, places: int) -> Tensor:
    """Of a logit by the pixels, over the middles of so many equal parts of the way: [c, h, w]."""
    total = torch.zeros_like(full, dtype=torch.float64)
    for parts in torch.arange(places).split(max(1, AT_A_TIME // full.numel())):
        at = (parts + 0.5).to(full.dtype).view(-1, 1, 1, 1) / places
        pictures = (empty + at * (full - empty)).requires_grad_()  # [parts, c, h, w]
        (gradient,) = torch.autograd.grad(network(pictures)[:, label].sum(), pictures)
        total += gradient.sum(dim=0)
    return total / places


def _empty(picture: np.ndarray) -> np.ndarray:
    """A picture of nothing but the other's border colour, channel by channel: uint8 [c, h, w]."""
    border = np.concatenate([picture[:, 0], picture[:, -1], picture[:, :, 0], picture[:, :, -1]], axis=1)
    return np.broadcast_to(np.median(border, axis=1).astype(np.uint8)[:, None, None], picture.shape)


@torch.inference_mode()
def features(model: nn.Module, pixels: np.ndarray) -> Tensor:
    """What the last layer is given for pictures, uint8 [n, c, h, w]: float32 [n, features]; for ``linear``, pixels."""
    before = nn.Sequential(*list(model.children())[:-1])
    with evaluating(before):
        return torch.cat([before(x) for x in DataLoader(pixels, validation_batch(pixels.shape)).batches()])


def nearest(model: nn.Module, pictures: np.ndarray, among: "Images", rows: np.ndarray, count: int = 5) -> np.ndarray:
    """The pictures that the model finds most like these, uint8 [n, c, h, w], nearest first: int64 [n, ≤ count].

    rows: which of ``among`` to compare with, int64; what comes back is some of them
    """
    own = features(model, pictures)
    length = validation_batch(among.pixels.shape)
    blocks = [rows[at : at + length] for at in range(0, len(rows), length)]
    distances = torch.cat([torch.cdist(own, features(model, among.pixels[block])) for block in blocks], dim=1)
    places = distances.topk(min(count, len(rows)), dim=1, largest=False).indices
    return rows[places.numpy()]


def multiply_adds(model: nn.Module, picture: np.ndarray) -> int:
    """How many of them a picture, uint8 [c, h, w], takes: a measure of its time."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.from_numpy(picture[None].copy()))
    return counter.get_total_flops() // 2
