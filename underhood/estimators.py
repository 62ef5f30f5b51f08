"""underhood's models as scikit-learn estimators, for ``cross_val_score``, ``GridSearchCV``, ``Pipeline`` and the rest.

>>> from sklearn.datasets import load_digits
>>> from sklearn.model_selection import cross_val_score
>>> rows, digits = load_digits(return_X_y=True)  # [1797, 64], [1797]
>>> cross_val_score(PixelSimilarityClassifier(), rows, digits, cv=3).round(2)
array([0.89, 0.88, 0.88])
>>> conv = ImageClassifier("conv", image_shape=(8, 8), epochs=4, random_state=0)
>>> bool(cross_val_score(conv, rows, digits, cv=3).mean() > 0.93)
True

Both pass scikit-learn's own ``check_estimator``. X holds a picture a row, any finite numbers [n, features]; pictures
[n, h, w] or [n, c, h, w] are flattened to that. y holds any labels [n]. What does not fit is a ValueError; a sparse
X is scikit-learn's TypeError.
"""

import copy
import math
import threading
from collections.abc import Sequence
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

from underhood.core.errors import DataError, DivergedError
from underhood.core.images import blocks
from underhood.core.learner import Learner, predict_probabilities
from underhood.core.loader import DataLoader, DataLoaders
from underhood.core.losses import cross_entropy
from underhood.core.models import Architecture, build_model
from underhood.core.schedule import one_cycle
from underhood.scratch.similarity import class_means, distances
from underhood.training.names import MODELS
from underhood.training.recipe import LEARNING_RATE, choose

WITHOUT_SHAPE = ("linear", "net")  # the models for which a picture is a row of numbers
_torch_seed = threading.Lock()  # torch has one random state for all threads


class PixelSimilarityClassifier(ClassifierMixin, BaseEstimator):
    """The class whose ideal, the mean of its training rows, is nearest: chapter 4's baseline (``PixelSimilarity``).

    metric: "l2", the root of the mean squared difference over all features, or "l1", the mean absolute difference

    Fitted: ``classes_``; ``ideals_`` float64 [classes, features]; ``spread_``, by how much a feature of a training row
    is off its ideal: the mean of the squares (l2) or of the distances (l1).
    """

    def __init__(self, metric: str = "l2"):
        self.metric = metric

    def fit(self, X: Any, y: Any) -> "PixelSimilarityClassifier":
        """Compute each class's ideal."""
        if self.metric not in ("l1", "l2"):
            raise ValueError(f"metric must be 'l1' or 'l2', not {self.metric!r}")
        rows, y = validate_data(self, _flat(X), y)
        self.classes_, labels = _classes(y)
        self.ideals_ = class_means(rows, labels, len(self.classes_))
        own = self._distances(rows)[np.arange(len(rows)), labels]
        self.spread_ = float((own if self.metric == "l1" else own**2).mean())
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The class of the nearest ideal: [n]."""
        nearest = self._to_ideals(X).argmin(axis=1)
        return self.classes_[nearest]

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each class, were all equally frequent and all features of a row independently off their
        ideal by a normal (l2) or Laplace (l1) error of one size, ``spread_``: float64 [n, classes].

        Neighbouring pixels are anything but independent, so that these are far too sure; their order is right.
        """
        return softmax(self._log_likelihoods(X), axis=1)

    def decision_function(self, X: Any) -> np.ndarray:
        """The logarithms of those probabilities, but for a constant in each row: float64 [n, classes]; where there are
        two classes, the logarithm of the second's odds: [n]."""
        log = self._log_likelihoods(X)
        return log[:, 1] - log[:, 0] if len(self.classes_) == 2 else log

    def _log_likelihoods(self, X: Any) -> np.ndarray:
        away = self._to_ideals(X)
        error = away if self.metric == "l1" else away**2 / 2
        return -self.n_features_in_ * error / (self.spread_ or 1.0)

    def _to_ideals(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        return self._distances(validate_data(self, _flat(X), reset=False))

    def _distances(self, rows: np.ndarray) -> np.ndarray:
        wide = (rows[block].astype(np.float64, order="C") for block in blocks(rows))
        return np.concatenate([distances(block, self.ideals_, self.metric) for block in wide])


class ImageClassifier(ClassifierMixin, BaseEstimator):
    """One of underhood's networks, trained by its loop: AdamW, the rate going up and down once.

    model: "linear", "net", "conv", "vgg" or "resnet18" (``models.py``)
    image_shape: of the picture in a row, in pixels, as (height, width) or (channels, height, width). Without it, that
        of X where X has pictures; else "linear" and "net" need none and the others take rows for square grey pictures
    epochs, batch_size: without one, what suits this many pictures (``recipe.py``)
    lr: the highest rate
    random_state: an int gives the same model each time, from equal numbers of threads; torch's random state stays

    Fitted: ``classes_``; ``model_``, a torch module for float or uint8 [n, c, h, w], with the training rows' mean and
    deviation in its first layer; ``architecture_``, its shape; ``loss_curve_``, the mean training loss of each epoch.
    """

    def __init__(
        self,
        model: str = "net",
        image_shape: Sequence[int] | None = None,
        epochs: int | None = None,
        lr: float = LEARNING_RATE,
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
        """Train a fresh network."""
        self._check_parameters()
        shape = X.shape[1:] if self.image_shape is None and _has_pictures(X) else self.image_shape
        rows, y = validate_data(self, _flat(X), y, dtype=[np.float32, np.uint8], order="C")
        classes, labels = _classes(y)
        if len(classes) == 1:
            raise ValueError(f"a network tells classes apart, but y has only one class: {classes.tolist()}")
        channels, height, width = _picture_shape(self.model, rows.shape[1], shape)
        architecture = Architecture(self.model, channels, height, width, len(classes))
        pictures = rows.reshape(-1, channels, height, width)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        recipe = choose(len(rows), model=self.model, epochs=self.epochs)
        size = int(self.batch_size or recipe.batch_size)
        train = DataLoader((pictures, labels), size, shuffle=True, seed=seed)
        # The loop measures after each epoch. Nothing is held out here, so it gets one batch and nobody looks.
        dls = DataLoaders(train, DataLoader((pictures[:size], labels[:size]), size))
        learner = Learner(dls, _fresh(architecture, seed, *_statistics(pictures)), cross_entropy, metrics=())
        try:
            losses = [epoch.train_loss for epoch in learner.epochs(recipe.epochs, float(self.lr), one_cycle)]
        except DivergedError as error:
            raise ValueError(f"the loss is not a number at step {error.step}: lr={self.lr} may be too high") from error
        self.classes_, self.architecture_, self.model_, self.loss_curve_ = classes, architecture, learner.model, losses
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class: [n]."""
        likeliest = self.predict_proba(X).argmax(axis=1)
        return self.classes_[likeliest]

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each class, in the order of ``classes_``: float64 [n, classes]."""
        check_is_fitted(self, "model_")
        rows = validate_data(self, _flat(X), dtype=[np.float32, np.uint8], order="C", reset=False)
        a, network = self.architecture_, self.model_
        if a.model in WITHOUT_SHAPE:
            # In single precision a product's last digits depend on how many rows are multiplied at once. In double
            # nobody sees it; convolutions, where it takes eight times as long, differ in the seventh digit.
            rows, network = rows.astype(np.float32, copy=False), copy.deepcopy(network).double()
        p = predict_probabilities(network, rows.reshape(-1, a.channels, a.height, a.width)).double().numpy()
        return p / p.sum(axis=1, keepdims=True)

    def _check_parameters(self) -> None:
        if self.model not in MODELS:
            raise ValueError(f"model must be one of {', '.join(MODELS)}, not {self.model!r}")
        for name in ("epochs", "batch_size"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, Integral) and int(value) >= 1):
                raise ValueError(f"{name} must be a whole number from 1 on, or None, not {value!r}")
        if not (isinstance(self.lr, Real) and 0 < self.lr < math.inf):
            raise ValueError(f"lr must be a number above 0, not {self.lr!r}")


def _has_pictures(X: Any) -> bool:
    return len(getattr(X, "shape", ())) in (3, 4)


def _flat(X: Any) -> Any:
    """Pictures [n, h, w] or [n, c, h, w] as rows [n, features]; all else as it is, for scikit-learn to judge."""
    return X.reshape(len(X), math.prod(X.shape[1:])) if _has_pictures(X) else X


def _classes(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The labels there are, sorted, and each row's index among them: [classes], int64 [n]."""
    check_classification_targets(y)
    classes, labels = np.unique(y, return_inverse=True)
    return classes, labels


def _picture_shape(model: str, features: int, shape: Sequence[int] | None) -> tuple[int, int, int]:
    """Channels, height and width of the picture in a row of ``features`` numbers."""
    if shape is None:
        if model in WITHOUT_SHAPE:
            return 1, 1, features
        side = math.isqrt(features)
        if side * side != features:
            raise ValueError(f"{features} features are no square picture: {model} needs image_shape=(height, width)")
        return 1, side, side
    if np.ndim(shape) != 1 or len(shape) not in (2, 3) or not all(isinstance(side, Integral) for side in shape):
        raise ValueError(f"image_shape must be (height, width) or (channels, height, width), not {shape!r}")
    channels, height, width = (1, *map(int, shape))[-3:]
    if min(channels, height, width) < 1 or channels * height * width != features:
        raise ValueError(f"image_shape={shape} does not hold the {features} features that each row of X has")
    if channels > 4 >= width:
        raise ValueError(f"image_shape={shape} has its channels last: put them first, X.transpose(0, 3, 1, 2)")
    return channels, height, width


def _statistics(pictures: np.ndarray) -> tuple[list[float], list[float]]:
    """Mean and deviation of each channel of pictures [n, c, h, w]; one of a single value gets a deviation of 1."""
    axes = 0, 2, 3
    mean = pictures.mean(axes, dtype=np.float64)
    squares = [((pictures[rows] - mean[:, None, None]) ** 2).sum(axes) for rows in blocks(pictures)]
    deviation = np.sqrt(np.sum(squares, axis=0) * len(mean) / pictures.size)
    single = np.finfo(np.float32)  # what is smaller beside the mean is only rounding
    deviation[deviation <= single.eps * np.abs(mean) + single.tiny] = 1.0
    return mean.tolist(), deviation.tolist()


def _fresh(architecture: Architecture, seed: int, mean: list[float], deviation: list[float]) -> nn.Module:
    """A network with weights from this seed. torch's random state is afterwards as it was."""
    with _torch_seed, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # the processor's alone, where torch.manual_seed takes all devices
        try:
            return build_model(architecture, mean, deviation)
        except DataError as error:
            size = f"{architecture.width} × {architecture.height} pixels"
            raise ValueError(
                f"pictures of {size} are too small for {architecture.model}: linear and net take any"
            ) from error
