"""Pixel similarity: the first model of fastbook's chapter 4, for any number of classes, and the baseline.

The mean of a class's training images is its class mean (the chapter's "ideal digit"). An image belongs to the class
whose mean is nearest: by L1, the mean absolute difference, or by L2, the root of the mean squared difference, over all
pixels, from 0 to 1. Statistics calls this the nearest-centroid classifier.
"""

import numpy as np

from underhood.core.images import Images, blocks


def mean_per_class(pixels: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """The mean of each class, 0 to classes − 1, none of which may be empty: float64 [classes, …].

    pixels: images, or rows, of any numbers [n, …]; labels: [n]
    """
    means = []
    for label in range(classes):
        mine = np.flatnonzero(labels == label)
        some = blocks(pixels, len(mine))
        means.append(sum(pixels[mine[rows]].sum(axis=0, dtype=np.float64) for rows in some) / len(mine))
    return np.stack(means)


def distances(rows: np.ndarray, means: np.ndarray, metric: str) -> np.ndarray:
    """From rows of numbers [n, pixels] to each class mean [classes, pixels], by "l1" or "l2": [n, classes]."""
    result = np.empty((len(rows), len(means)), rows.dtype)
    for label, mean in enumerate(means):
        difference = rows - mean
        if metric == "l1":
            result[:, label] = np.abs(difference).mean(axis=1)
        else:
            result[:, label] = np.sqrt((difference**2).mean(axis=1))
    return result


class PixelSimilarity:
    """Nearest class mean, by ``metric`` "l1" or "l2".

    >>> from underhood import read
    >>> digits = read("digits")
    >>> PixelSimilarity().fit(digits.train).predict(digits.valid.pixels).shape
    (359,)
    """

    class_means: np.ndarray  # float32 [classes, c, h, w], 0 to 1

    def __init__(self, metric: str = "l2"):
        if metric not in ("l1", "l2"):
            raise ValueError(f"metric must be 'l1' or 'l2', not {metric!r}")
        self.metric = metric

    def fit(self, images: Images) -> "PixelSimilarity":
        """Compute the mean of each class. Every class needs at least one image."""
        for name, count in images.counts().items():
            if not count:
                raise ValueError(f"class {name!r} has no image")
        means = mean_per_class(images.pixels, images.labels, len(images.classes))
        self.class_means = (means / 255).astype(np.float32)
        return self

    def distances(self, pixels: np.ndarray) -> np.ndarray:
        """From images, uint8 [n, c, h, w], to each class mean: float32 [n, classes]."""
        means = self.class_means.reshape(len(self.class_means), -1)  # [classes, c·h·w]
        result = np.empty((len(pixels), len(means)), np.float32)
        for rows in blocks(pixels):
            block = pixels[rows].reshape(-1, means.shape[1]).astype(np.float32) / 255
            result[rows] = distances(block, means, self.metric)
        return result

    def predict(self, pixels: np.ndarray) -> np.ndarray:
        """The class with the nearest mean for each image, uint8 [n, c, h, w]: int64 [n]."""
        return self.distances(pixels).argmin(axis=1)
