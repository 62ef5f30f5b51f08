"""Chapter 11's thirty-five-minute job, fast: the mathematics of ``scratch/backprop.py``, arranged for the machine.

3,500 times the whole of MNIST, 60,000 × 784, through 200 hidden nodes, with loss and test accuracy after each step.
Nearly all of the time goes into two products an iteration, pictures times weights and pictures times slopes. So:

- The forward pass that measures the loss after a step is the first half of the next step. It is done once.
- 67 of the 784 pixels are 0 in every training picture: no product needs their columns, and their weights never move.
- Pictures go through in blocks that stay in the processor's cache from one operation to the next.
- The two products are oneDNN's, which uses AVX-512 on every processor that has it; the blocks of pictures are laid out
  for it once. (The BLAS behind ``@`` does so on some processors only, and takes twice the time on others.)
- Bias is added by the product rather than as a column of ones.

All in float32. docs/books.md has the figures.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from underhood.core.images import Dataset
from underhood.scratch.backprop import Report

BLOCK = 1500  # pictures: they, 4.3 MB, and their hidden layer, 1.2 MB, stay in the cache


class Weights(NamedTuple):
    """Both layers as torch lays them out: hidden [200, used pixels], out [classes, 200], and their biases.

    Also the form of their slopes.
    """

    hidden: Tensor
    hidden_bias: Tensor
    out: Tensor
    out_bias: Tensor


class Job:
    """The pictures of a data set as the job wants them. Raw pixels, 0 to 255, as in the chapter."""

    def __init__(self, data: Dataset):
        pixels = data.train.pixels.reshape(len(data.train), -1)
        self.used = np.flatnonzero(pixels.any(axis=0))  # pixels that are not 0 in some training picture
        self.count, self.classes = len(pixels), len(data.classes)
        self._labels = torch.from_numpy(data.train.labels).split(BLOCK)
        self.blocks = [self._block(pixels[i : i + BLOCK]) for i in range(0, len(pixels), BLOCK)]
        self._test = self._block(data.valid.pixels.reshape(len(data.valid), -1))
        self._test_labels = torch.from_numpy(data.valid.labels)

    def _block(self, pixels: np.ndarray) -> Tensor:
        return _laid_out(torch.from_numpy(pixels[:, self.used]).float())

    def weights(self, w1: np.ndarray, w2: np.ndarray) -> Weights:
        """The chapter's weights, w1 [785, hidden] and w2 [hidden + 1, classes], in this job's form."""
        first, second = torch.from_numpy(w1), torch.from_numpy(w2)
        return Weights(
            first[1:][self.used].T.contiguous(), first[0].clone(), second[1:].T.contiguous(), second[0].clone()
        )

    @torch.no_grad()
    def gradients(self, weights: Weights) -> tuple[float, Weights]:
        """The loss of these weights, and its slopes."""
        hidden = _laid_out(weights.hidden)
        total = torch.zeros((), dtype=torch.float64)
        slopes = Weights(*(torch.zeros_like(weight) for weight in weights))
        for x, labels in zip(self.blocks, self._labels, strict=True):
            h = linear(x, hidden, weights.hidden_bias).sigmoid_()  # [block, 200]
            logs = F.linear(h, weights.out, weights.out_bias).log_softmax(1)  # [block, classes]
            total -= logs.gather(1, labels[:, None]).sum()
            difference = logs.exp_()
            difference[torch.arange(len(labels)), labels] -= 1
            difference /= self.count  # (ŷ − y) / n
            slopes.out.addmm_(difference.T, h)
            slopes.out_bias.add_(difference.sum(0))
            at_hidden = (difference @ weights.out).mul_(h)
            at_hidden.addcmul_(at_hidden, h, value=-1)  # times h · (1 − h)
            slopes.hidden_bias.add_(at_hidden.sum(0))
            slopes.hidden.add_(slopes_of_linear(at_hidden, x, hidden))
        return total.item() / self.count, slopes

    @torch.no_grad()
    def accuracy(self, weights: Weights) -> float:
        """The fraction of the test pictures that these weights get right."""
        h = linear(self._test, _laid_out(weights.hidden), weights.hidden_bias).sigmoid_()
        guesses = F.linear(h, weights.out, weights.out_bias).argmax(1)
        return (guesses == self._test_labels).double().mean().item()


def iterations(job: Job, w1: np.ndarray, w2: np.ndarray, lr: float, n: int) -> Iterator[Report]:
    """Full-batch gradient descent, as ``scratch.backprop.train``: a report after each of n steps."""
    weights = job.weights(w1, w2)
    accuracy = 0.0
    for step in range(n + 1):
        loss, slopes = job.gradients(weights)
        if step:
            yield Report(step - 1, loss, accuracy)
        if step < n:
            weights = Weights(*(weight - lr * slope for weight, slope in zip(weights, slopes, strict=True)))
            accuracy = job.accuracy(weights)


def _laid_out(x: Tensor) -> Tensor:
    """In oneDNN's own layout, where there is oneDNN."""
    return x.to_mkldnn() if torch.backends.mkldnn.is_available() else x


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x [n, k] and weight [m, k], both laid out, bias [m]: [n, m]."""
    y = F.linear(x, weight, bias)
    return y.to_dense() if y.is_mkldnn else y


def slopes_of_linear(slopes: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """The slopes of a linear layer's weight from those of its output, [n, m], and its input, [n, k]: [m, k]."""
    if not x.is_mkldnn:
        return slopes.T @ x
    # what autograd calls for the same purpose
    by_weight, _ = torch.ops.aten.mkldnn_linear_backward_weights(slopes.to_mkldnn(), x, weight, False)
    return by_weight.to_dense()
