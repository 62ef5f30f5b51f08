"""Rows of numbers as images, and the checks that they are such."""

import math
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils.multiclass import check_classification_targets

from underhood.core.images import blocks

WITHOUT_SHAPE = ("linear", "net")  # the models for which an image is a row of numbers


def has_images(X: Any) -> bool:
    """Whether X holds images, [n, h, w] or [n, c, h, w], and not rows."""
    return len(getattr(X, "shape", ())) in (3, 4)


def flat(X: Any) -> Any:
    """Images [n, h, w] or [n, c, h, w] as rows [n, features]; anything else unchanged, for scikit-learn to check."""
    return X.reshape(len(X), math.prod(X.shape[1:])) if has_images(X) else X


def label_numbers(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The sorted labels, and each row's index among them: [classes], int64 [n]."""
    check_classification_targets(y)
    classes, labels = np.unique(y, return_inverse=True)
    return classes, labels


def image_shape_of(model: str, features: int, shape: Sequence[int] | None) -> tuple[int, int, int]:
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


def pixel_statistics(images: np.ndarray) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel of images [n, c, h, w]; 1 for a constant channel."""
    axes = 0, 2, 3
    mean = images.mean(axes, dtype=np.float64)
    squares = [((images[rows] - mean[:, None, None]) ** 2).sum(axes) for rows in blocks(images)]
    std = np.sqrt(np.sum(squares, axis=0) * len(mean) / images.size)
    single = np.finfo(np.float32)  # a smaller value, relative to the mean, is only rounding
    std[std <= single.eps * np.abs(mean) + single.tiny] = 1.0
    return mean.tolist(), std.tolist()


def colour_pixels(images: np.ndarray, model: str) -> np.ndarray:
    """Pixels [n, c, h, w] as a backbone takes them, uint8 [n, 3, h, w]. Grey images are repeated."""
    if images.shape[1] not in (1, 3):
        raise ValueError(f"{model} takes images with 1 or 3 channels, not {images.shape[1]}")
    if images.dtype != np.uint8:
        if images.min() < 0 or images.max() > 255:
            raise ValueError(f"X has numbers from {images.min():g} to {images.max():g}: {model} takes pixels, 0 to 255")
        images = np.rint(images).astype(np.uint8)
    return np.repeat(images, 3, axis=1) if images.shape[1] == 1 else images
