"""underhood's networks as an estimator."""

import copy
import math
import threading
from collections.abc import Sequence
from functools import partial
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import nn

from underhood.analysis import require_probabilities
from underhood.analysis.calibration import COVERAGE, Answers, answers, fit_calibration, softmax
from underhood.analysis.inference import features, logits_and_distances
from underhood.analysis.prototypes import PER_CLASS, fit_prototypes
from underhood.core.errors import DataError, DivergedError, UnderhoodError
from underhood.core.images import Images
from underhood.core.learner import Learner
from underhood.core.loader import DataLoader, DataLoaders
from underhood.core.losses import cross_entropy
from underhood.core.models import MODELS, Architecture
from underhood.core.schedule import one_cycle
from underhood.data.split import sample
from underhood.estimators.rows import (
    WITHOUT_SHAPE,
    colour_pixels,
    flat,
    has_images,
    image_shape_of,
    label_numbers,
    pixel_statistics,
)  # fmt: skip
from underhood.pretrained import BACKBONES, SMALLEST, Network, create_model
from underhood.pretrained.features import image_features
from underhood.pretrained.weights import copy_weights, find_weights
from underhood.runs.calibration import Calibration
from underhood.training.recipe import choose_recipe
from underhood.training.tune import last_layer

_torch_seed = threading.Lock()  # torch has one random state for all threads


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
    ``architecture_``; ``loss_curve_``, the mean training loss of each epoch; ``prototypes_``, a ``Calibration`` with
    directions that stand for the training rows in the space of the last layer's inputs; and once ``calibrate`` was
    called, ``calibration_``: the same with temperature, limits and threshold.
    """

    calibration_: Calibration

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
        network = _new_network(architecture, seed, *([], []) if backbone else pixel_statistics(images))
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
        prototypes = _prototypes(trained, inputs, labels)
        self.classes_, self.architecture_, self.model_, self.loss_curve_ = classes, architecture, network.eval(), losses
        self.prototypes_ = prototypes
        if hasattr(self, "calibration_"):  # of an earlier fit
            del self.calibration_
        return self

    def calibrate(self, X: Any, y: Any, coverage: float = COVERAGE, reject: float = 0.01) -> "ImageClassifier":
        """Fit how outputs are read, on images that ``fit`` did not get. ``predict_proba`` is calibrated from then on.

        X: [m, features] or images; y: their labels [m]; coverage: the fraction of new images whose prediction set is to
        hold their class, for each class that has enough images here, 19 for 0.95; reject: the fraction of such images
        that ``predict_rejected`` may reject
        Raises NotFittedError before ``fit``, and ValueError for labels that ``fit`` did not get.
        """
        if not (isinstance(coverage, Real) and 0 < coverage < 1 and isinstance(reject, Real) and 0 <= reject < 1):
            raise ValueError(f"coverage must be above 0, reject 0 or more, both below 1, not {coverage} and {reject}")
        check_is_fitted(self, "model_")
        rows, y = validate_data(self, flat(X), y, dtype=[np.float32, np.uint8], order="C", reset=False)
        unknown = np.setdiff1d(y, self.classes_)
        if len(unknown):
            raise ValueError(f"y has labels that fit did not get: {unknown.tolist()}")
        logits, distances, _ = self._outputs(rows)
        labels = np.searchsorted(self.classes_, y)
        self.calibration_ = fit_calibration(logits, distances, labels, float(coverage), float(reject), self.prototypes_)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class: [n]."""
        most_probable = self.predict_proba(X).argmax(axis=1)
        return self.classes_[most_probable]

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each class, in the order of ``classes_``: float64 [n, classes]."""
        return self._answers(X).probabilities

    def predict_set(self, X: Any) -> np.ndarray:
        """The prediction set of each image: bool [n, classes], whether a class, in the order of ``classes_``, is in it.

        The most probable class always is. Raises NotFittedError before ``calibrate``.
        """
        check_is_fitted(self, "calibration_")
        sets = self._answers(X).sets
        assert sets is not None
        return sets

    def predict_rejected(self, X: Any) -> np.ndarray:
        """Mask of images that are none of the classes: bool [n].

        They are unlike the training rows, their most probable class is improbable, or all their numbers are equal.
        Raises NotFittedError before ``calibrate``.
        """
        check_is_fitted(self, "calibration_")
        return self._answers(X).rejected

    def _answers(self, X: Any) -> Answers:
        check_is_fitted(self, "model_")
        rows = validate_data(self, flat(X), dtype=[np.float32, np.uint8], order="C", reset=False)
        calibration = getattr(self, "calibration_", Calibration())
        logits, distances, images = self._outputs(rows)
        probabilities = softmax(logits.astype(np.float64), calibration.temperature)
        return answers(calibration, images, probabilities, distances)

    def _outputs(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of rows [n, features]: logits float32 [n, classes], distances to the prototypes [n], images [n, c, h, w]."""
        a, network = self.architecture_, self.model_
        if a.model in WITHOUT_SHAPE:
            # In single precision the last digits of a product depend on how many rows are multiplied at once; double
            # precision hides that. Convolutions, where it would take eight times as long, differ in the seventh digit.
            rows, network = rows.astype(np.float32, copy=False), copy.deepcopy(network).double()
        images = rows.reshape(len(rows), -1, a.height, a.width)
        if a.model in BACKBONES:
            images = colour_pixels(images, a.model)
        try:
            logits, distances = logits_and_distances(network, images, self.prototypes_)
            require_probabilities(softmax(logits, 1.0))
        except UnderhoodError as error:
            raise ValueError(f"{error}; or the numbers in X are too large") from None
        assert distances is not None
        return logits, distances, images

    def _validated(self, X: Any, y: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Images [n, c, h, w], the classes, and each image's index among them [n]."""
        shape = X.shape[1:] if self.image_shape is None and has_images(X) else self.image_shape
        rows, y = validate_data(self, flat(X), y, dtype=[np.float32, np.uint8], order="C")
        classes, labels = label_numbers(y)
        if len(classes) == 1:
            raise ValueError(f"y has only one class: {classes.tolist()}; a classifier needs at least two")
        images = rows.reshape(-1, *image_shape_of(self.model, rows.shape[1], shape))
        if self.model not in BACKBONES:
            return images, classes, labels
        if images.dtype != np.uint8 and images.max() <= 1:
            raise ValueError(f"X has numbers up to {images.max():g}: {self.model} takes pixels from 0 to 255, X * 255")
        return colour_pixels(images, self.model), classes, labels

    def _check_parameters(self) -> None:
        if self.model not in (names := (*MODELS, *BACKBONES)):
            raise ValueError(f"model must be one of {', '.join(names)}, not {self.model!r}")
        for name in ("epochs", "batch_size"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, Integral) and int(value) >= 1):
                raise ValueError(f"{name} must be a whole number from 1 on, or None, not {value!r}")
        if self.lr is not None and not (isinstance(self.lr, Real) and 0 < self.lr < math.inf):
            raise ValueError(f"lr must be a number above 0, or None, not {self.lr!r}")


def _prototypes(trained: nn.Module, inputs: np.ndarray, labels: np.ndarray) -> Calibration:
    """The prototypes of the training rows: see ``fit_prototypes``. trained: a network, or its last layer

    inputs: its inputs [n, …]; labels: int [n]
    """
    rows = sample(labels, PER_CLASS * len(np.unique(labels)), seed=0)  # a fit is quick: there is nothing to cluster
    labels, found = labels[rows], inputs[rows]
    if isinstance(trained, Network):
        found = features(trained, found).numpy()
    if not np.isfinite(found).all():
        raise ValueError("the trained network gives NaN or infinite numbers: lr may be too high")
    return fit_prototypes(found, labels)


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
