"""What the checks need of the images of a case: samples, features to compare them by, and a probe."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from underhood.analysis.calibration import calibration_half
from underhood.core.images import Images
from underhood.data.cache import take_images
from underhood.data.split import sample
from underhood.diagnosis.case import Case

if TYPE_CHECKING:
    from underhood.data.parts import Parts

SIDE = 8  # pixels of a thumbnail
MOST = 1_500  # images that are compared
LEAST_COLOUR = 32  # pixels a side, from which on a backbone's features say more than pixels do
BACKBONE, BACKBONE_SIDE = "efficientnet_lite0", 112


def own_parts(case: Case) -> tuple[Images, Images] | None:
    """The training and validation images of data that have both; None where validation images are drawn at random."""
    if case.parts is None:
        return None
    images = case.parts.images
    other = images.get("valid", images.get("test"))
    return None if other is None or not len(other) else (images["train"], other)


def some(images: Images, count: int = MOST, seed: int = 0) -> Images:
    """At most so many of the images, each class in proportion."""
    count = max(count, len(images.classes))
    return take_images(images, sample(images.labels, count, seed)) if len(images) > count else images


def alike(first: Images, second: Images, count: int) -> tuple[Images, Images]:
    """As many images of each class from both, at most ``count`` in all, so that only the images differ."""
    each = max(1, count // max(1, len(first.classes)))
    rows: list[list[np.ndarray]] = [[], []]
    for label in range(len(first.classes)):
        both = [np.flatnonzero(images.labels == label) for images in (first, second)]
        number = min(each, *map(len, both))
        for side, own in enumerate(both):
            rows[side].append(np.random.default_rng(0).permutation(own)[:number])
    chosen = [np.concatenate(side) for side in rows]
    return take_images(first, chosen[0]), take_images(second, chosen[1])


def thumbnails(pixels: np.ndarray, side: int = SIDE) -> np.ndarray:
    """Images, uint8 [n, c, h, w], as mean values of side × side fields: float32 [n, c · side · side]."""
    from torch import from_numpy
    from torch.nn.functional import adaptive_avg_pool2d

    return adaptive_avg_pool2d(from_numpy(pixels).float(), side).flatten(1).numpy()


def statistics(pixels: np.ndarray) -> np.ndarray:
    """Of each image, uint8 [n, c, h, w], what preparation changes: float32 [n, k].

    Mean, standard deviation, darkest and lightest values of each channel, and how much neighbours differ.
    """
    x = pixels.astype(np.float32)
    flat = x.reshape(*x.shape[:2], -1)
    across = np.abs(np.diff(x, axis=3)).mean(axis=(1, 2, 3))[:, None]
    down = np.abs(np.diff(x, axis=2)).mean(axis=(1, 2, 3))[:, None]
    parts = [flat.mean(2), flat.std(2), *np.quantile(flat, (0.02, 0.98), axis=2), across, down]
    return np.concatenate(parts, axis=1).astype(np.float32)


def probe(x: np.ndarray, y: np.ndarray) -> float:
    """How well a forest predicts y from x in cross-validation: balanced accuracy. x: [n, k]; y: int [n]"""
    from sklearn.ensemble import ExtraTreesClassifier

    return _cross_validated(ExtraTreesClassifier(100, min_samples_leaf=3, random_state=0), x, y)


def probe_features(pixels: np.ndarray, y: np.ndarray) -> float:
    """How well a backbone's features of colour images, uint8 [n, 3, h, w], predict y, int [n]: as ``probe``.

    Raises UnderhoodError.
    """
    return _cross_validated(_classifier(), backbone_features(pixels), y)


def _cross_validated(model: Any, x: np.ndarray, y: np.ndarray) -> float:
    """The balanced accuracy of scikit-learn's model in cross-validation. x: [n, k]; y: int [n]"""
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.model_selection import cross_val_predict

    return float(balanced_accuracy_score(y, cross_val_predict(model, x, y, cv=5)))


def cross_predict(parts: "Parts", images: Images) -> np.ndarray:
    """Probabilities of each image by a model that was trained on the other half: float32 [n, classes].

    Colour images are compared by a backbone's features, others by a small network that is trained anew.
    Raises DivergedError.
    """
    half = calibration_half(images.labels)
    found = np.zeros((len(images), len(images.classes)), np.float32)
    if images.pixels.shape[1] == 3 and min(images.pixels.shape[2:]) >= LEAST_COLOUR:
        features = backbone_features(images.pixels)
        for own in (half, ~half):
            found[own] = _by_features(features[~own], images.labels[~own], features[own], len(images.classes))
        return found
    from underhood.training.leaks import predict_held_out

    plain = replace(images, precomputed_hashes=None)
    for own in (half, ~half):
        found[own] = predict_held_out(parts, take_images(plain, ~own), take_images(plain, own))
    return found


def backbone_features(pixels: np.ndarray) -> np.ndarray:
    """A backbone's features of colour images, uint8 [n, 3, h, w]: float32 [n, features]. Raises UnderhoodError."""
    from torch import from_numpy
    from torch.nn.functional import interpolate

    from underhood.analysis.inference import features
    from underhood.core.models import Architecture
    from underhood.pretrained import create_model
    from underhood.pretrained.weights import copy_weights, find_weights

    network = create_model(Architecture(BACKBONE, 3, BACKBONE_SIDE, BACKBONE_SIDE, 2))
    copy_weights(network, find_weights(BACKBONE))
    resized = interpolate(from_numpy(pixels).float(), (BACKBONE_SIDE, BACKBONE_SIDE), mode="bilinear", antialias=True)
    return features(network, resized.round().clamp(0, 255).byte().numpy()).numpy()


def _by_features(x: np.ndarray, y: np.ndarray, new: np.ndarray, classes: int) -> np.ndarray:
    """Probabilities of new rows by logistic regression: float32 [m, classes]. x: [n, k]; y: int [n]; new: [m, k]"""
    model = _classifier().fit(x, y)
    found = np.zeros((len(new), classes), np.float32)
    found[:, model.classes_] = model.predict_proba(new)
    return found


def _classifier() -> Any:
    """Logistic regression on standardised features."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=200))
