"""A network with one hidden layer and its gradients by hand: "Programming Machine Learning", chapter 11.

All in NumPy, nothing of autograd. Bias is a column of ones put before the inputs, so weights have a row more than
inputs. Shapes for MNIST as the chapter trains it: x [60000, 784], w1 [785, 200], h [60000, 200], w2 [201, 10],
y_hat [60000, 10]. ``scratch/gradients.py`` proves ``back`` against autograd and finite differences.

The chapter divides exponentials as they come, which overflows at logits above 88; here the largest logit is taken away
first, which changes nothing else, and a probability of 0 costs log(tiny) rather than infinity.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]


def one_hot_encode(y: np.ndarray, classes: int = 10) -> Array:
    """Labels [n] or [n, 1] to float32 [n, classes]: a 1 in the label's column, 0 elsewhere."""
    return (np.reshape(y, (-1, 1)) == np.arange(classes)).astype(np.float32)


def sigmoid(z: Array) -> Array:
    """Numbers of any shape to ones between 0 and 1. (Below −80 it is 2e-35 or so; exp would soon overflow float32.)"""
    return 1 / (1 + np.exp(-np.maximum(z, -80)))


def softmax(logits: Array) -> Array:
    """Rows of logits [n, classes] to probabilities that sum to 1."""
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def sigmoid_gradient(sigmoid: Array) -> Array:
    """The slope of sigmoid where it has these values, of any shape."""
    return sigmoid * (1 - sigmoid)


def loss(y: Array, y_hat: Array) -> float:
    """Cross-entropy: the mean over pictures of −log of the right class's probability. Both [n, classes]."""
    return float(-np.sum(y * np.log(np.maximum(y_hat, np.finfo(y_hat.dtype).tiny))) / len(y))


def prepend_bias(x: Array) -> Array:
    """A column of ones before x: [n, m] to [n, m + 1]."""
    return np.concatenate([np.ones((len(x), 1), x.dtype), x], axis=1)


def forward(x: Array, w1: Array, w2: Array) -> tuple[Array, Array]:
    """Probabilities y_hat [n, classes], and the hidden layer h [n, hidden]."""
    h = sigmoid(prepend_bias(x) @ w1)
    y_hat = softmax(prepend_bias(h) @ w2)
    return y_hat, h


def back(x: Array, y: Array, y_hat: Array, w2: Array, h: Array) -> tuple[Array, Array]:
    """The slopes of the loss for w1 [inputs + 1, hidden] and w2 [hidden + 1, classes], by the chain rule.

    x [n, inputs]; y, one-hot, and y_hat [n, classes]; h [n, hidden]

    Softmax and cross-entropy together have the slope y_hat − y at the logits. From there w2 is one product away; w1 is
    reached through w2 without its bias row (the bias does not depend on h) and through the slope of sigmoid.
    """
    difference = (y_hat - y) / len(x)  # [n, classes]
    w2_gradient = prepend_bias(h).T @ difference  # [hidden + 1, classes]
    w1_gradient = prepend_bias(x).T @ (difference @ w2[1:].T * sigmoid_gradient(h))  # [inputs + 1, hidden]
    return w1_gradient, w2_gradient


def classify(x: Array, w1: Array, w2: Array) -> np.ndarray:
    """The most probable class of each picture: [n, 1]."""
    y_hat, _ = forward(x, w1, w2)
    return y_hat.argmax(axis=1).reshape(-1, 1)


def initialize_weights(
    w1_shape: tuple[int, int], w2_shape: tuple[int, int], rng: np.random.Generator | None = None
) -> tuple[Array, Array]:
    """Small random numbers (deviation 0.01): equal weights would learn the same, large ones flatten the sigmoid.

    The shapes, and so the weights: [inputs + 1, hidden] and [hidden + 1, classes], float32.
    """
    rng = rng or np.random.default_rng(1234)
    w1, w2 = (rng.normal(0, 0.01, shape).astype(np.float32) for shape in (w1_shape, w2_shape))
    return w1, w2


class Report(NamedTuple):
    """What one iteration reached: loss on the training pictures, accuracy (a fraction) on the test pictures."""

    iteration: int
    loss: float
    accuracy: float

    def __str__(self) -> str:
        return f"Iteration {self.iteration}, Loss: {self.loss:.7f}, Accuracy: {self.accuracy:.2%}"


def report(
    iteration: int, x_train: Array, y_train: Array, x_test: Array, y_test: np.ndarray, w1: Array, w2: Array
) -> Report:
    """Measure these weights. y_train one-hot [n, classes]; y_test labels [m, 1]."""
    y_hat, _ = forward(x_train, w1, w2)
    accuracy = float(np.mean(classify(x_test, w1, w2) == np.reshape(y_test, (-1, 1))))
    return Report(iteration, loss(y_train, y_hat), accuracy)


def train(
    x_train: Array,
    y_train: Array,
    x_test: Array,
    y_test: np.ndarray,
    n_hidden_nodes: int,
    iterations: int,
    lr: float,
    weights: tuple[Array, Array] | None = None,
) -> Iterator[tuple[Report, Array, Array]]:
    """Full-batch gradient descent, yielding (report, w1, w2) after each iteration.

    x_train [n, inputs]; y_train one-hot [n, classes]; x_test [m, inputs]; y_test labels [m, 1]
    weights: w1 [inputs + 1, hidden] and w2 [hidden + 1, classes] to start from

    >>> x, y = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32), np.array([0, 1, 1, 0])  # exclusive or
    >>> for row, w1, w2 in train(x, one_hot_encode(y, 2), x, y, n_hidden_nodes=8, iterations=4000, lr=2.0):
    ...     if row.iteration in (0, 3999):
    ...         print(f"{row.accuracy:.0%}")
    50%
    100%
    """
    inputs, classes = x_train.shape[1], y_train.shape[1]
    w1, w2 = weights or initialize_weights((inputs + 1, n_hidden_nodes), (n_hidden_nodes + 1, classes))
    for iteration in range(iterations):
        y_hat, h = forward(x_train, w1, w2)
        w1_gradient, w2_gradient = back(x_train, y_train, y_hat, w2, h)
        w1 = w1 - lr * w1_gradient
        w2 = w2 - lr * w2_gradient
        yield report(iteration, x_train, y_train, x_test, y_test, w1, w2), w1, w2
