"""underhood's models as scikit-learn estimators, for ``cross_val_score``, ``GridSearchCV``, ``Pipeline`` and the rest.

>>> from sklearn.datasets import load_digits
>>> from sklearn.model_selection import cross_val_score
>>> rows, digits = load_digits(return_X_y=True)  # [1797, 64], [1797]
>>> cross_val_score(PixelSimilarityClassifier(), rows, digits, cv=3).round(2)
array([0.89, 0.88, 0.88])
>>> conv = ImageClassifier("conv", image_shape=(8, 8), epochs=4, random_state=0)
>>> bool(cross_val_score(conv, rows, digits, cv=3).mean() > 0.93)
True

Both pass scikit-learn's own ``check_estimator``. Each row of X is an image, of any finite numbers [n, features]; images
[n, h, w] or [n, c, h, w] are flattened to that. y holds any labels [n]. Invalid input raises ValueError; a sparse X
raises scikit-learn's TypeError.
"""

import copy
import math
import threading
from collections.abc import Sequence
from functools import partial
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import nn

from underhood.analysis.inference import predict_proba
from underhood.core.errors import DataError, DivergedError, UnderhoodError
from underhood.core.images import Images, blocks
from underhood.core.learner import Learner
from underhood.core.loader import DataLoader, DataLoaders
from underhood.core.losses import cross_entropy
from underhood.core.models import MODELS, Architecture
from underhood.core.schedule import one_cycle
from underhood.pretrained import BACKBONES, SMALLEST, Network, create_model
from underhood.pretrained.features import image_features
from underhood.pretrained.weights import copy_weights, find_weights
from underhood.scratch.similarity import distances, mean_per_class
from underhood.training.recipe import choose_recipe
from underhood.training.tune import last_layer

WITHOUT_SHAPE = ("linear", "net")  # the models for which an image is a row of numbers
_torch_seed = threading.Lock()  # torch has one random state for all threads


class PixelSimilarityClassifier(ClassifierMixin, BaseEstimator):
    """Nearest class mean, the mean of a class's training rows: chapter 4's baseline (``PixelSimilarity``).

    metric: "l2", the root of the mean squared difference over all features, or "l1", the mean absolute difference

    Fitted: ``classes_``; ``class_means_`` float64 [classes, features]; ``spread_``, how far a feature of a training row
    is from its class mean: the mean of the squares (l2) or of the distances (l1).
    """

    def __init__(self, metric: str = "l2"):
        self.metric = metric

    def fit(self, X: Any, y: Any) -> "PixelSimilarityClassifier":
        """Compute the mean of each class. X: [n, features] or images; y: labels [n]."""
        if self.metric not in ("l1", "l2"):
            raise ValueError(f"metric must be 'l1' or 'l2', not {self.metric!r}")
        rows, y = validate_data(self, _flat(X), y)
        self.classes_, labels = _classes(y)
        self.class_means_ = mean_per_class(rows, labels, len(self.classes_))
        own = self._distances(rows)[np.arange(len(rows)), labels]
        self.spread_ = float((own if self.metric == "l1" else own**2).mean())
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The class with the nearest mean: [n]."""
        nearest = self._to_means(X).argmin(axis=1)
        return self.classes_[nearest]

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each class: float64 [n, classes].

        Assumes equally frequent classes, and features that differ from the class mean by independent normal (l2) or
        Laplace (l1) errors of the same size, ``spread_``. Neighbouring pixels are not independent, so these
        probabilities are far too confident; their order is right.
        """
        return softmax(self._log_likelihoods(X), axis=1)

    def decision_function(self, X: Any) -> np.ndarray:
        """The logarithms of these probabilities up to a constant per row: float64 [n, classes]. With two classes, the
        log odds of the second: [n]."""
        log = self._log_likelihoods(X)
        return log[:, 1] - log[:, 0] if len(self.classes_) == 2 else log

    def _log_likelihoods(self, X: Any) -> np.ndarray:
        distance = self._to_means(X)
        error = distance if self.metric == "l1" else distance**2 / 2
        return -self.n_features_in_ * error / (self.spread_ or 1.0)

    def _to_means(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        return self._distances(validate_data(self, _flat(X), reset=False))

    def _distances(self, rows: np.ndarray) -> np.ndarray:
        wide = (rows[block].astype(np.float64, order="C") for block in blocks(rows))
        return np.concatenate([distances(block, self.class_means_, self.metric) for block in wide])


class ImageClassifier(ClassifierMixin, BaseEstimator):
    """One of underhood's networks, trained by its loop with AdamW and the one-cycle schedule.

    model: "linear", "net", "conv", "vgg" or "resnet18" (``core/models.py``), trained from scratch; or
        "efficientnet_lite0", a backbone with published weights, of which the last layer is trained. X then holds pixels
        from 0 to 255, rounded to whole numbers, of images of 32 × 32 or more; grey ones are repeated in three channels
    image_shape: of the image in a row, in pixels, as (height, width) or (channels, height, width). By default that of X
        if X holds images; else "linear" and "net" need none, and the others take rows as square grey images
    epochs, batch_size: by default chosen from the number of images (``training/recipe.py``)
    lr: the highest learning rate; by default 0.01, for a backbone 0.002
    random_state: an int gives the same model each time, from equal numbers of threads; torch's random state is restored

    Fitted: ``classes_``; ``model_``, a torch module for float or uint8 [n, c, h, w], with the mean and standard
    deviation of the training rows in its first layer (a backbone's: of the images that its weights were trained on);
    ``architecture_``; ``loss_curve_``, the mean training loss of each epoch.
    """

    def __init__(
        self,
        model: str = "net",
        image_shape: Sequence[int] | None = None,
        epochs: int | None = None,
        lr: float | None = None,
        batch_size: int | None = None,
        random_state: int | np.random.RandomState | None = None,
    ):
        self.model = model
        self.image_shape = image_shape
        self.epochs = epochs
        self.lr = lr
        self.batch_size = batch_size
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> "ImageClassifier":
        """Train a new network. X: [n, features] or images; y: labels [n].

        A backbone's features of X are kept in the user's cache, so that another fit on the same X is quick. Raises
        UnderhoodError where its weights are not installed.
        """
        self._check_parameters()
        images, classes, labels = self._validated(X, y)
        backbone = self.model in BACKBONES
        _, channels, height, width = images.shape
        architecture = Architecture(self.model, channels, height, width, len(classes))
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        recipe = choose_recipe(len(images), model=self.model, epochs=self.epochs, tune="head" if backbone else "none")
        network = _new_network(architecture, seed, *([], []) if backbone else _statistics(images))
        inputs, trained = _head(network, self.model, images, labels) if backbone else (images, network)
        size, lr = int(self.batch_size or recipe.batch_size), float(self.lr or recipe.lr)
        train = DataLoader((inputs, labels), size, shuffle=True, seed=seed)
        # The loop validates after each epoch. Nothing is held out here, so it gets one batch, and the result is unused.
        dls = DataLoaders(train, DataLoader((inputs[:size], labels[:size]), size))
        loss_func = partial(cross_entropy, label_smoothing=recipe.label_smoothing)
        learner = Learner(dls, trained, loss_func, metrics=())
        try:
            losses = [epoch.train_loss for epoch in learner.epochs(recipe.epochs, lr, one_cycle)]
        except DivergedError as error:
            raise ValueError(f"the loss is NaN or infinite at step {error.step}: lr={lr:g} may be too high") from error
        self.classes_, self.architecture_, self.model_, self.loss_curve_ = classes, architecture, network.eval(), losses
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class: [n]."""
        most_probable = self.predict_proba(X).argmax(axis=1)
        return self.classes_[most_probable]

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each class, in the order of ``classes_``: float64 [n, classes]."""
        check_is_fitted(self, "model_")
        rows = validate_data(self, _flat(X), dtype=[np.float32, np.uint8], order="C", reset=False)
        a, network = self.architecture_, self.model_
        if a.model in WITHOUT_SHAPE:
            # In single precision the last digits of a product depend on how many rows are multiplied at once; double
            # precision hides that. Convolutions, where it would take eight times as long, differ in the seventh digit.
            rows, network = rows.astype(np.float32, copy=False), copy.deepcopy(network).double()
        images = rows.reshape(len(rows), -1, a.height, a.width)
        if a.model in BACKBONES:
            images = _colour_pixels(images, a.model)
        try:
            p = predict_proba(network, images).double().numpy()
        except UnderhoodError as error:
            raise ValueError(f"{error}; or the numbers in X are too large") from None
        return p / p.sum(axis=1, keepdims=True)

    def _validated(self, X: Any, y: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Images [n, c, h, w], the classes, and each image's index among them [n]."""
        shape = X.shape[1:] if self.image_shape is None and _has_images(X) else self.image_shape
        rows, y = validate_data(self, _flat(X), y, dtype=[np.float32, np.uint8], order="C")
        classes, labels = _classes(y)
        if len(classes) == 1:
            raise ValueError(f"y has only one class: {classes.tolist()}; a classifier needs at least two")
        images = rows.reshape(-1, *_image_shape(self.model, rows.shape[1], shape))
        if self.model not in BACKBONES:
            return images, classes, labels
        if images.dtype != np.uint8 and images.max() <= 1:
            raise ValueError(f"X has numbers up to {images.max():g}: {self.model} takes pixels from 0 to 255, X * 255")
        return _colour_pixels(images, self.model), classes, labels

    def _check_parameters(self) -> None:
        if self.model not in (names := (*MODELS, *BACKBONES)):
            raise ValueError(f"model must be one of {', '.join(names)}, not {self.model!r}")
        for name in ("epochs", "batch_size"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, Integral) and int(value) >= 1):
                raise ValueError(f"{name} must be a whole number from 1 on, or None, not {value!r}")
        if self.lr is not None and not (isinstance(self.lr, Real) and 0 < self.lr < math.inf):
            raise ValueError(f"lr must be a number above 0, or None, not {self.lr!r}")


def _has_images(X: Any) -> bool:
    return len(getattr(X, "shape", ())) in (3, 4)


def _flat(X: Any) -> Any:
    """Images [n, h, w] or [n, c, h, w] as rows [n, features]; anything else unchanged, for scikit-learn to check."""
    return X.reshape(len(X), math.prod(X.shape[1:])) if _has_images(X) else X


def _classes(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The sorted labels, and each row's index among them: [classes], int64 [n]."""
    check_classification_targets(y)
    classes, labels = np.unique(y, return_inverse=True)
    return classes, labels


def _image_shape(model: str, features: int, shape: Sequence[int] | None) -> tuple[int, int, int]:
    """Channels, height and width of the image in a row of ``features`` numbers."""
    if shape is None:
        if model in WITHOUT_SHAPE:
            return 1, 1, features
        side = math.isqrt(features)
        if side * side != features:
            needed = "image_shape=(height, width) or (channels, height, width)"
            raise ValueError(f"{features} features are no square image: {model} needs {needed}")
        return 1, side, side
    if np.ndim(shape) != 1 or len(shape) not in (2, 3) or not all(isinstance(side, Integral) for side in shape):
        raise ValueError(f"image_shape must be (height, width) or (channels, height, width), not {shape!r}")
    channels, height, width = (1, *map(int, shape))[-3:]
    if min(channels, height, width) < 1 or channels * height * width != features:
        raise ValueError(f"image_shape={shape} does not hold the {features} features that each row of X has")
    if channels > 4 >= width:
        raise ValueError(f"image_shape={shape} has its channels last: put them first, X.transpose(0, 3, 1, 2)")
    return channels, height, width


def _statistics(images: np.ndarray) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel of images [n, c, h, w]; 1 for a constant channel."""
    axes = 0, 2, 3
    mean = images.mean(axes, dtype=np.float64)
    squares = [((images[rows] - mean[:, None, None]) ** 2).sum(axes) for rows in blocks(images)]
    std = np.sqrt(np.sum(squares, axis=0) * len(mean) / images.size)
    single = np.finfo(np.float32)  # a smaller value, relative to the mean, is only rounding
    std[std <= single.eps * np.abs(mean) + single.tiny] = 1.0
    return mean.tolist(), std.tolist()


def _colour_pixels(images: np.ndarray, model: str) -> np.ndarray:
    """Pixels [n, c, h, w] as a backbone takes them, uint8 [n, 3, h, w]. Grey images are repeated."""
    if images.shape[1] not in (1, 3):
        raise ValueError(f"{model} takes images with 1 or 3 channels, not {images.shape[1]}")
    if images.dtype != np.uint8:
        if images.min() < 0 or images.max() > 255:
            raise ValueError(f"X has numbers from {images.min():g} to {images.max():g}: {model} takes pixels, 0 to 255")
        images = np.rint(images).astype(np.uint8)
    return np.repeat(images, 3, axis=1) if images.shape[1] == 1 else images


def _head(network: Network, model: str, images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, nn.Module]:
    """A backbone's features of images [n, features], by its published weights, and its last layer, set to zero."""
    weights = find_weights(model)
    copy_weights(network, weights)
    head = last_layer(network)
    for parameter in head.parameters():
        nn.init.zeros_(parameter)
    names = tuple(map(str, range(len(labels))))
    return image_features(network, Images(images, labels, (), names), weights.sha256).numpy(), head


def _new_network(architecture: Architecture, seed: int, mean: list[float], std: list[float]) -> Network:
    """A network with weights from this seed. Restores torch's random state."""
    with _torch_seed, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # the CPU's alone; torch.manual_seed would set all devices
        try:
            return create_model(architecture, mean, std)
        except DataError as error:
            size = (
                f"images of {architecture.width} × {architecture.height} pixels are too small for {architecture.model}"
            )
            larger = f"resize them to {SMALLEST} × {SMALLEST} or more, or " if architecture.model in BACKBONES else ""
            raise ValueError(f"{size}: {larger}use linear or net, which take any size") from error
