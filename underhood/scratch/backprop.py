"""A network with one hidden layer and its gradients by hand: "Programming Machine Learning", chapter 11.

In NumPy, without autograd. The bias is a column of ones in front of the inputs, so weights have one row more than there
are inputs. Shapes for MNIST as in the chapter: x [60000, 784], w1 [785, 200], h [60000, 200], w2 [201, 10],
y_hat [60000, 10]. The second half of the file checks ``back`` against autograd and finite differences.

The chapter computes exponentials of the logits directly, which overflows above 88. Here the largest logit is subtracted
first, which does not change the result, and a probability of 0 costs log(tiny) instead of infinity.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]

# -- The network


def one_hot_encode(y: np.ndarray, classes: int = 10) -> Array:
    """Labels [n] or [n, 1] to float32 [n, classes]: a 1 in the label's column, 0 elsewhere."""
    return (np.reshape(y, (-1, 1)) == np.arange(classes)).astype(np.float32)


def sigmoid(z: Array) -> Array:
    """Map numbers of any shape to numbers between 0 and 1. Clipped at −80 (2e-35), as exp would overflow float32."""
    return 1 / (1 + np.exp(-np.maximum(z, -80)))


def softmax(logits: Array) -> Array:
    """Turn rows of logits [n, classes] into probabilities that sum to 1."""
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def sigmoid_gradient(sigmoid: Array) -> Array:
    """The derivative of the sigmoid, from the values of the sigmoid, of any shape."""
    return sigmoid * (1 - sigmoid)


def loss(y: Array, y_hat: Array) -> float:
    """Cross-entropy: the mean over images of −log of the right class's probability. Both [n, classes]."""
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
    """The gradients of the loss for w1 [inputs + 1, hidden] and w2 [hidden + 1, classes], by the chain rule.

    x [n, inputs]; y, one-hot, and y_hat [n, classes]; h [n, hidden]

    The gradient of softmax and cross-entropy together at the logits is y_hat − y. One product gives the gradient of w2.
    The one of w1 goes through w2 without its bias row (the bias does not depend on h) and the derivative of sigmoid.
    """
    difference = (y_hat - y) / len(x)  # [n, classes]
    w2_gradient = prepend_bias(h).T @ difference  # [hidden + 1, classes]
    w1_gradient = prepend_bias(x).T @ (difference @ w2[1:].T * sigmoid_gradient(h))  # [inputs + 1, hidden]
    return w1_gradient, w2_gradient


def classify(x: Array, w1: Array, w2: Array) -> np.ndarray:
    """The most probable class of each image: [n, 1]."""
    y_hat, _ = forward(x, w1, w2)
    return y_hat.argmax(axis=1).reshape(-1, 1)


def initialize_weights(
    w1_shape: tuple[int, int], w2_shape: tuple[int, int], rng: np.random.Generator | None = None
) -> tuple[Array, Array]:
    """Random weights of mean 0 and standard deviation 0.01, float32, in the shapes given.

    Equal weights would all learn the same; with large ones the sigmoid is flat and its gradient almost 0.
    w1_shape, w2_shape: [inputs + 1, hidden] and [hidden + 1, classes]
    """
    rng = rng or np.random.default_rng(1234)
    w1, w2 = (rng.normal(0, 0.01, shape).astype(np.float32) for shape in (w1_shape, w2_shape))
    return w1, w2


# -- Training


class Report(NamedTuple):
    """After one iteration: the loss on the training images, and the accuracy, a fraction, on the test images."""

    iteration: int
    loss: float
    accuracy: float

    def __str__(self) -> str:
        return f"Iteration {self.iteration}, Loss: {self.loss:.7f}, Accuracy: {self.accuracy:.2%}"


def report(
    iteration: int, x_train: Array, y_train: Array, x_test: Array, y_test: np.ndarray, w1: Array, w2: Array
) -> Report:
    """Evaluate these weights. y_train one-hot [n, classes]; y_test labels [m, 1]."""
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


# -- Checking gradients: by hand, by autograd, and by finite differences, which need no calculus

TOLERANCE = 1e-5  # of the largest gradient in the layer; in float64 finite differences are off by about 1e-8

Back = Callable[[Array, Array, Array, Array, Array], tuple[Array, Array]]


class LayerCheck(NamedTuple):
    """How far a layer's hand-written gradient is from the other two, as a fraction of its largest value."""

    name: str
    from_autograd: float
    from_differences: float

    @property
    def agrees(self) -> bool:
        """Whether both confirm it, to within ``TOLERANCE``."""
        return max(self.from_autograd, self.from_differences) <= TOLERANCE


def finite_differences(function: Callable[[], float], array: Array, step: float = 1e-5) -> Array:
    """The gradient of ``function()`` for each number in ``array``, which is moved by ±``step`` and restored.

    array: of any shape; the gradient has the same

    function: reads ``array`` each time it is called. It is called twice for each number, so keep networks small, and in
    float64.
    """
    gradient = np.empty_like(array)
    for index in np.ndindex(array.shape):
        kept = array[index]
        array[index] = kept + step
        above = function()
        array[index] = kept - step
        gradient[index] = (above - function()) / (2 * step)
        array[index] = kept
    return gradient


def autograd(x: Array, y: Array, w1: Array, w2: Array) -> tuple[Array, Array]:
    """The gradients of the loss for w1 [inputs + 1, hidden] and w2 [hidden + 1, classes], computed by torch.

    x [n, inputs]; y one-hot [n, classes]
    """
    import torch  # the rest of this file works without it

    tensors = [torch.tensor(w, requires_grad=True) for w in (w1, w2)]
    ones = torch.ones(len(x), 1, dtype=tensors[0].dtype)
    h = torch.sigmoid(torch.cat([ones, torch.tensor(x)], dim=1) @ tensors[0])
    logits = torch.cat([ones, h], dim=1) @ tensors[1]
    torch.nn.functional.cross_entropy(logits, torch.tensor(y)).backward()
    first, second = (tensor.grad.numpy() for tensor in tensors if tensor.grad is not None)
    return first, second


def compare_gradients(x: Array, y: Array, w1: Array, w2: Array, back: Back = back) -> list[LayerCheck]:
    """Compare the gradients of ``back`` with autograd and with finite differences: w2, its bias row, w1, its bias row.

    An error in a backward pass is passed on from the loss towards the inputs, so the layers are in that order and the
    first that disagrees has the error.

    x [n, inputs]; y one-hot [n, classes]; all are converted to float64
    """
    x, y, w1, w2 = (np.array(a, np.float64) for a in (x, y, w1, w2))
    y_hat, h = forward(x, w1, w2)
    by_hand = back(x, y, y_hat, w2, h)
    by_autograd = autograd(x, y, w1, w2)

    def loss_now() -> float:
        return loss(y, forward(x, w1, w2)[0])

    by_differences = finite_differences(loss_now, w1), finite_differences(loss_now, w2)
    layers = []
    for name, weight, rows in (("w2", 1, slice(1, None)), ("w2 bias", 1, slice(0, 1)),
                               ("w1", 0, slice(1, None)), ("w1 bias", 0, slice(0, 1))):  # fmt: skip
        mine, torchs, differences = (g[weight][rows] for g in (by_hand, by_autograd, by_differences))
        scale = np.abs(differences).max()
        layers.append(LayerCheck(name, np.abs(mine - torchs).max() / scale, np.abs(mine - differences).max() / scale))
    return layers


def first_disagreement(layers: list[LayerCheck]) -> str | None:
    """The name of the first layer, from the loss on, whose hand-written gradient is wrong; None if all agree."""
    return next((layer.name for layer in layers if not layer.agrees), None)
