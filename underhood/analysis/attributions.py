"""Attributions: how much each pixel adds to a logit, by integrated gradients (Sundararajan, Taly and Yan, 2017).

The gradient is integrated along the straight line from a baseline, a plain image in the colour of this image's border,
to the image. The attributions add up to the difference between the two logits. For a linear model they are exactly each
pixel's weight times its difference from the baseline.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from underhood.pretrained import Network
from underhood.pretrained.features import fold_batch_norm

TOLERANCE = 0.005  # the sum may differ from the difference of logits by this fraction of it
FIRST_POINTS, MAX_POINTS = 32, 2048  # along the line from the baseline to the image
MAX_NUMBERS = 5_000_000  # in all images on the line: of a large image fewer points, so that it takes seconds
PIXELS_AT_ONCE = 2**18


@dataclass(frozen=True)
class Attributions:
    """How much each pixel adds to a logit.

    values: float64 [c, h, w], in logits; ``start + values.sum()`` is ``logit``, up to ``missing``
    start: the logit of the baseline; for a linear model the bias and the weights' share of the baseline
    """

    values: np.ndarray
    start: float
    logit: float

    @property
    def missing(self) -> float:
        """The difference between the logit and the sum, in logits."""
        return self.logit - self.start - float(self.values.sum())


def integrated_gradients(model: nn.Module, image: np.ndarray, label: int) -> Attributions:
    """The attributions of an image's pixels, uint8 [c, h, w], to a label's logit.

    model: as ``build_model`` returns it, ``Normalize`` first. The number of points on the line is doubled until the sum
    is within half a percent of the difference of logits, or until there are 2,048 (32 for images of 224 × 224 pixels).
    """
    normalize, *layers = fold_batch_norm(nn.Sequential(*model.children())).children()
    network = Network(*layers).requires_grad_(False).eval()
    network.mirrored = getattr(model, "mirrored", False)
    if not any(isinstance(module, nn.Conv2d) for module in network.modules()):
        network.double()  # cheap for matrices, but ten times the time for convolutions
    pair = torch.from_numpy(np.stack([_baseline(image), image]))
    baseline, full = normalize(pair).to(next(network.parameters()).dtype)  # [c, h, w] each

    start, logit = network(torch.stack([baseline, full]))[:, label].tolist()
    points, most = FIRST_POINTS, min(MAX_POINTS, MAX_NUMBERS // full.numel())
    while True:
        values = (full - baseline).double() * _mean_gradient(network, baseline, full, label, points)
        found = Attributions(values.numpy(), start, logit)
        if abs(found.missing) <= TOLERANCE * abs(logit - start) or 2 * points > most:
            return found
        points *= 2


def _mean_gradient(network: nn.Module, baseline: Tensor, full: Tensor, label: int, points: int) -> Tensor:
    """The gradient of a logit with respect to the pixels, mean over equally spaced points of the line: [c, h, w]."""
    total = torch.zeros_like(full, dtype=torch.float64)
    for numbers in torch.arange(points).split(max(4, PIXELS_AT_ONCE // full.numel())):
        fraction = (numbers + 0.5).to(full.dtype).view(-1, 1, 1, 1) / points
        images = (baseline + fraction * (full - baseline)).requires_grad_()  # [numbers, c, h, w]
        (gradient,) = torch.autograd.grad(network(images)[:, label].sum(), images)
        total += gradient.sum(dim=0)
    return total / points


def _baseline(image: np.ndarray) -> np.ndarray:
    """A plain image in the colour of this image's border, the median of each channel: uint8 [c, h, w]."""
    border = np.concatenate([image[:, 0], image[:, -1], image[:, :, 0], image[:, :, -1]], axis=1)
    return np.broadcast_to(np.median(border, axis=1).astype(np.uint8)[:, None, None], image.shape)
