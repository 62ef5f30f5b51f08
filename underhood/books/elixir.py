"""Figures of "Programming Machine Learning", chapter 11, as its Elixir form prints them, and its random numbers.

The chapter trains for 3,500 iterations over all of MNIST, 60,000 × 784, with 200 hidden nodes, and prints loss and test
accuracy after each: 35 minutes in the book. ``Job`` has the mathematics of ``scratch/backprop.py``, arranged for speed.
Nearly all of the time goes into two products per iteration, images times weights and images times gradients.

- The forward pass that computes the loss after a step is the first half of the next step. It runs once.
- 67 of the 784 pixels are 0 in every training image: no product needs their columns, and their weights never change.
- Images are processed in blocks that stay in the processor's cache from one operation to the next.
- The two products are oneDNN's, which uses AVX-512 on every processor that has it; the blocks are converted to its
  layout once. (The BLAS behind ``@`` uses AVX-512 on some processors only, and takes twice as long on others.)
- The bias is added by the product instead of a column of ones.

All in float32. docs/books.md has the measurements.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.special import erfinv
from torch import Tensor

from underhood.books import Row, figure, ranged
from underhood.core.images import Dataset
from underhood.scratch import backprop
from underhood.scratch.backprop import Report

SOURCE = "Programming Machine Learning 11"
SECTION = "Training the network"
HIDDEN, LR, ITERATIONS = 200, 0.01, 3500
of = partial(figure, SOURCE, SECTION)

FIRST_ITERATIONS = (  # loss, accuracy in per cent
    ("2.2787163257598877", "13.80"),
    ("2.2671103477478027", "18.27"),
    ("2.2557082176208496", "24.21"),
    ("2.2444677352905273", "29.92"),
    ("2.2333567142486572", "34.72"),
)
LAST_ITERATIONS = {3497: "0.13987 94.21", 3498: "0.13985 94.21", 3499: "0.13983 94.21"}
TOLERANCE = {"loss": 1e-4, "accuracy": 0.03}  # of the last lines; accuracy in per cent
ONE_IMAGE = 0.0101  # per cent of 10,000: after the fifth iteration two classes of one image are 3e-9 apart
IMAGES_PER_BLOCK = 1500  # their pixels, 4.3 MB, and their hidden layer, 1.2 MB, stay in the cache


def rows(data: Dataset, full: bool = False, watch: Callable[[Iterable[Any]], Iterator[Any]] = iter) -> Iterator[Row]:
    """The first five iterations by ``scratch/backprop.py``; with ``full`` also the last three of 3,500. data: mnist.

    watch: wraps the reports of the 3,500 iterations, as a progress bar does
    """
    w1, w2 = chapter11_weights(HIDDEN)
    x, x_test = (part.pixels.reshape(len(part), -1).astype(np.float32) for part in (data.train, data.valid))
    y, y_test = backprop.one_hot_encode(data.train.labels), data.valid.labels
    yield of("shapes of x_train and y_train", "60000 784 60000 10", [x.shape, y.shape])
    yield of("shapes of weight1 and weight2", "785 200 201 10", [w1.shape, w2.shape])
    for report, _, _ in backprop.train(x, y, x_test, y_test, HIDDEN, len(FIRST_ITERATIONS), LR, (w1, w2)):
        loss, accuracy = FIRST_ITERATIONS[report.iteration]
        yield of(f"iteration {report.iteration}: loss", loss, report.loss)
        yield of(f"iteration {report.iteration}: accuracy in %", accuracy, 100 * report.accuracy, ONE_IMAGE)
    if full:
        for report in watch(iterations(Job(data), w1, w2, LR, ITERATIONS)):
            if report.iteration in LAST_ITERATIONS:
                yield last_iteration(report)


def last_iteration(report: Report) -> Row:
    """Compare one of the last iterations within ``TOLERANCE``."""
    within = f"within {TOLERANCE['loss']} and {TOLERANCE['accuracy']}"
    what = f"iteration {report.iteration}: loss, accuracy in % ({within})"
    computed, widths = (report.loss, 100 * report.accuracy), list(TOLERANCE.values())
    low, high = ([value + sign * width for value, width in zip(computed, widths, strict=True)] for sign in (-1, 1))
    return ranged(SOURCE, SECTION, what, LAST_ITERATIONS[report.iteration], low, high)


# -- The long job


class Weights(NamedTuple):
    """Both layers in torch's layout: hidden [200, used pixels], out [classes, 200], and their biases; or gradients."""

    hidden: Tensor
    hidden_bias: Tensor
    out: Tensor
    out_bias: Tensor


class Job:
    """The images of a data set, prepared for the long job. Raw pixels, 0 to 255, as in the chapter."""

    def __init__(self, data: Dataset):
        pixels = data.train.pixels.reshape(len(data.train), -1)
        self.used = np.flatnonzero(pixels.any(axis=0))  # pixels that are not 0 in some training image
        self.count, self.classes = len(pixels), len(data.classes)
        self._labels = torch.from_numpy(data.train.labels).split(IMAGES_PER_BLOCK)
        starts = range(0, len(pixels), IMAGES_PER_BLOCK)
        self.blocks = [self._block(pixels[start : start + IMAGES_PER_BLOCK]) for start in starts]
        self._test = self._block(data.valid.pixels.reshape(len(data.valid), -1))
        self._test_labels = torch.from_numpy(data.valid.labels)

    def _block(self, pixels: np.ndarray) -> Tensor:
        return _to_onednn(torch.from_numpy(pixels[:, self.used]).float())

    def weights(self, w1: np.ndarray, w2: np.ndarray) -> Weights:
        """Convert the chapter's weights, w1 [785, hidden] and w2 [hidden + 1, classes]."""
        first, second = torch.from_numpy(w1), torch.from_numpy(w2)
        return Weights(
            first[1:][self.used].T.contiguous(), first[0].clone(), second[1:].T.contiguous(), second[0].clone()
        )

    @torch.no_grad()
    def gradients(self, weights: Weights) -> tuple[float, Weights]:
        """The loss of these weights, and its gradients."""
        hidden = _to_onednn(weights.hidden)
        total = torch.zeros((), dtype=torch.float64)
        gradients = Weights(*(torch.zeros_like(weight) for weight in weights))
        for x, labels in zip(self.blocks, self._labels, strict=True):
            h = linear(x, hidden, weights.hidden_bias).sigmoid_()  # [block, 200]
            logs = F.linear(h, weights.out, weights.out_bias).log_softmax(1)  # [block, classes]
            total -= logs.gather(1, labels[:, None]).sum()
            difference = logs.exp_()
            difference[torch.arange(len(labels)), labels] -= 1
            difference /= self.count  # (ŷ − y) / n
            gradients.out.addmm_(difference.T, h)
            gradients.out_bias.add_(difference.sum(0))
            at_hidden = (difference @ weights.out).mul_(h)
            at_hidden.addcmul_(at_hidden, h, value=-1)  # times h · (1 − h)
            gradients.hidden_bias.add_(at_hidden.sum(0))
            gradients.hidden.add_(linear_weight_gradient(at_hidden, x, hidden))
        return total.item() / self.count, gradients

    @torch.no_grad()
    def accuracy(self, weights: Weights) -> float:
        """The accuracy of these weights on the test images, a fraction."""
        h = linear(self._test, _to_onednn(weights.hidden), weights.hidden_bias).sigmoid_()
        predicted = F.linear(h, weights.out, weights.out_bias).argmax(1)
        return (predicted == self._test_labels).double().mean().item()


def iterations(job: Job, w1: np.ndarray, w2: np.ndarray, lr: float, n: int) -> Iterator[Report]:
    """Full-batch gradient descent, as ``scratch.backprop.train``: a report after each of n steps.

    w1 [785, hidden] and w2 [hidden + 1, classes]: the weights to start from
    """
    weights = job.weights(w1, w2)
    accuracy = 0.0
    for step in range(n + 1):
        loss, gradients = job.gradients(weights)
        if step:
            yield Report(step - 1, loss, accuracy)
        if step < n:
            weights = Weights(*(weight - lr * gradient for weight, gradient in zip(weights, gradients, strict=True)))
            accuracy = job.accuracy(weights)


def _to_onednn(x: Tensor) -> Tensor:
    """Convert to oneDNN's own layout, where there is oneDNN."""
    return x.to_mkldnn() if torch.backends.mkldnn.is_available() else x


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x [n, k] and weight [m, k], both in oneDNN's layout if there is one, bias [m]: [n, m]."""
    y = F.linear(x, weight, bias)
    return y.to_dense() if y.is_mkldnn else y


def linear_weight_gradient(gradient: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """The gradient of a linear layer's weight, from that of its output [n, m], and its input [n, k]: [m, k]."""
    if not x.is_mkldnn:
        return gradient.T @ x
    # what autograd calls for the same purpose
    by_weight, _ = torch.ops.aten.mkldnn_linear_backward_weights(gradient.to_mkldnn(), x, weight, False)
    return by_weight.to_dense()


# -- The random numbers of Nx, Elixir's tensors: chapter 11's weights start with them
#
# Nx took its generator from JAX as it was before the partitionable form: threefry-2x32, a keyed hash of counters
# (Salmon and others, "Parallel random numbers: as easy as 1, 2, 3", 2011). A key is two 32-bit words. Nothing else is
# state: equal keys draw equal numbers, and a key is split to draw more.

Words = NDArray[np.uint32]

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))  # bits, for even and odd groups of four rounds
PARITY = 0x1BD11BDA  # from the paper


def random_key(seed: int) -> Words:
    """A key from a seed of up to 64 bits: its high and its low word, uint32 [2]."""
    return np.array([seed >> 32, seed & 0xFFFFFFFF], np.uint32)


def split_key(key: Words) -> tuple[Words, Words]:
    """Two new keys: (next key, key to draw with)."""
    first, second = random_bits(key, 4).reshape(2, 2)
    return first, second


def random_bits(key: Words, n: int) -> Words:
    """n random words, uint32 [n]: counters 0 … n − 1, the first half hashed together with the second."""
    counters = np.arange(n + n % 2, dtype=np.uint32)
    counters[n:] = 0  # an odd count is padded with a zero
    return np.concatenate(threefry(key, *np.split(counters, 2)))[:n]


def uniform(key: Words, shape: tuple[int, ...], low: float, high: float) -> NDArray[np.float32]:
    """Uniform float32 [*shape], low ≤ number < high: 23 random bits become the fraction of a float from 1 to 2."""
    floats = (random_bits(key, int(np.prod(shape))) >> np.uint32(9) | np.uint32(0x3F800000)).view(np.float32)
    floats -= np.float32(1)
    span = np.float32(high) - np.float32(low)
    return np.maximum(np.float32(low), floats * span + np.float32(low)).reshape(shape)


def normal(key: Words, mean: float, std: float, shape: tuple[int, ...]) -> tuple[NDArray[np.float32], Words]:
    """Normally distributed float32 numbers [*shape], and the key for the next draw."""
    next_key, mine = split_key(key)
    above_minus_one = np.nextafter(np.float32(-1), np.float32(0))
    standard = np.float32(np.sqrt(2)) * erfinv(uniform(mine, shape, above_minus_one, 1)).astype(np.float32)
    return standard * np.float32(std) + np.float32(mean), next_key


def chapter11_weights(hidden: int = 200) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The first weights of chapter 11's network: key 1234, w1 [785, hidden], then w2 [hidden + 1, 10]."""
    w1, next_key = normal(random_key(1234), 0.0, 0.01, (785, hidden))
    w2, _ = normal(next_key, 0.0, 0.01, (hidden + 1, 10))
    return w1, w2


def threefry(key: Words, x0: Words, x1: Words) -> tuple[Words, Words]:
    """Twenty rounds of add, rotate and exclusive-or, mixing in the key after every four. uint32 [n] each; they wrap."""
    keys = key[0], key[1], key[0] ^ key[1] ^ np.uint32(PARITY)
    x0, x1 = x0 + keys[0], x1 + keys[1]
    for group in range(5):
        for rotation in ROTATIONS[group % 2]:
            x0 = x0 + x1
            x1 = (x1 << np.uint32(rotation) | x1 >> np.uint32(32 - rotation)) ^ x0
        x0 = x0 + keys[(group + 1) % 3]
        x1 = x1 + keys[(group + 2) % 3] + np.uint32(group + 1)
    return x0, x1
