"""Pixel similarity: the first try of fastbook's chapter 4, for any number of classes, and the honest baseline.

The ideal image of a class is the mean of its training images. A picture belongs to the class whose ideal is nearest:
by L1, the mean absolute difference, or by L2, the root of the mean squared difference, over all pixels, where a pixel
is 0 to 1. (Statistics calls it the nearest-centroid classifier.)
"""

import numpy as np

from underhood.core.images import Images, blocks


def class_means(pixels: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """The mean of each class, 0 to classes − 1, each of which has one at least: float64 [classes, …].

    pixels: pictures, or rows, of any numbers [n, …]; labels: [n]
    """
    means = []
    for label in range(classes):
        mine = np.flatnonzero(labels == label)
        some = blocks(pixels, len(mine))
        means.append(sum(pixels[mine[rows]].sum(axis=0, dtype=np.float64) for rows in some) / len(mine))
    return np.stack(means)


def distances(rows: np.ndarray, ideals: np.ndarray, metric: str) -> np.ndarray:
    """From rows of numbers [n, pixels] to each ideal [classes, pixels], by "l1" or "l2": [n, classes]."""
    result = np.empty((len(rows), len(ideals)), rows.dtype)
    for label, ideal in enumerate(ideals):
        difference = rows - ideal
        if metric == "l1":
            result[:, label] = np.abs(difference).mean(axis=1)
        else:
            result[:, label] = np.sqrt((difference**2).mean(axis=1))
    return result


class PixelSimilarity:
    """Nearest ideal image, by ``metric`` "l1" or "l2".

    >>> from underhood import read
    >>> digits = read("digits")
    >>> PixelSimilarity().fit(digits.train).predict(digits.valid.pixels).shape
    (359,)
    """

    ideals: np.ndarray  # float32 [classes, c, h, w], 0 to 1

    def __init__(self, metric: str = "l2"):
        if metric not in ("l1", "l2"):
            raise ValueError(f"metric must be 'l1' or 'l2', not {metric!r}")
        self.metric = metric

    def fit(self, images: Images) -> "PixelSimilarity":
        """Compute the ideal image of each class. Every class needs at least one picture."""
        for name, count in images.counts().items():
            if not count:
                raise ValueError(f"class {name!r} has no picture")
        means = class_means(images.pixels, images.labels, len(images.classes))
        self.ideals = (means / 255).astype(np.float32)
        return self

    def distances(self, pixels: np.ndarray) -> np.ndarray:
        """From pictures, uint8 [n, c, h, w], to each ideal: float32 [n, classes]."""
        ideals = self.ideals.reshape(len(self.ideals), -1)  # [classes, c·h·w]
        result = np.empty((len(pixels), len(ideals)), np.float32)
        for rows in blocks(pixels):
            block = pixels[rows].reshape(-1, ideals.shape[1]).astype(np.float32) / 255
            result[rows] = distances(block, ideals, self.metric)
        return result

    def predict(self, pixels: np.ndarray) -> np.ndarray:
        """The nearest class of each picture, uint8 [n, c, h, w]: int64 [n]."""
        return self.distances(pixels).argmin(axis=1)
