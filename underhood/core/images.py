"""Labelled images as whole arrays: uint8 pixels [n, c, h, w], labels and class names. No torch here.

Chapter 4 stacks its 3s and its 7s into a rank-3 tensor each. Here all classes share one array, with a channel axis.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

PIXELS_PER_BLOCK = 200_000  # what fits in the processor's cache once it is widened to float64


@dataclass(frozen=True, eq=False)
class Images:
    """Images as pixels. Indexing gives one as (pixels [c, h, w], label)."""

    pixels: np.ndarray  # uint8 [n, c, h, w], 0 black to 255 white; c is 1 (grey) or 3 (red, green, blue)
    labels: np.ndarray  # int64 [n], indices into ``classes``
    classes: tuple[str, ...]  # their names, in natural order
    names: Sequence[str]  # n file names, relative to the data's folder
    precomputed_hashes: np.ndarray | None = None  # uint64 [n], equal for equal pixels, as data/split.py computes them

    def __post_init__(self) -> None:
        if self.pixels.dtype != np.uint8 or self.pixels.ndim != 4:
            raise ValueError(f"pixels must be uint8 [n, c, h, w], not {self.pixels.dtype} {self.pixels.shape}")
        if not len(self.pixels) == len(self.labels) == len(self.names):
            raise ValueError(f"{len(self.pixels)} images, {len(self.labels)} labels, {len(self.names)} names")

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[np.ndarray, int]:
        return self.pixels[i], int(self.labels[i])

    def take(self, rows: np.ndarray) -> "Images":
        """The images at these indices, int64 [m], or where this mask, bool [n], is true, in that order."""
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows
        names = [self.names[i] for i in rows.tolist()]
        hashes = None if self.precomputed_hashes is None else self.precomputed_hashes[rows]
        return Images(self.pixels[rows], self.labels[rows], self.classes, names, hashes)

    def counts(self) -> dict[str, int]:
        """The number of images of each class."""
        per_class = np.bincount(self.labels, minlength=len(self.classes))
        return dict(zip(self.classes, per_class.tolist(), strict=True))

    def pixel_statistics(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation, 1 if it is 0, of each channel, 0 to 255: float64 [c], float64 [c]."""
        levels, means, stds = np.arange(256, dtype=np.float64), [], []
        for channel in range(self.pixels.shape[1]):
            histogram = np.zeros(256, np.int64)  # whole numbers: exact, whatever the order of the images
            for rows in blocks(self.pixels):
                histogram += np.bincount(self.pixels[rows, channel].ravel(), minlength=256)
            means.append(histogram @ levels / histogram.sum())
            stds.append(np.sqrt(histogram @ (levels - means[-1]) ** 2 / histogram.sum()) or 1.0)
        return np.array(means), np.array(stds)


@dataclass(frozen=True)
class Dataset:
    """The images that a model is trained, validated and, where there is a test part, tested on."""

    name: str
    train: Images
    valid: Images
    test: Images | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes; labels are indices into them."""
        return self.train.classes

    @property
    def parts(self) -> dict[str, Images]:
        """The parts by name: train, valid and, where there is one, test."""
        return {"train": self.train, "valid": self.valid} | ({"test": self.test} if self.test is not None else {})


def blocks(pixels: np.ndarray, count: int | None = None) -> Iterator[slice]:
    """Slices over images [n, c, h, w], or over ``count`` such images, each of about PIXELS_PER_BLOCK pixels."""
    length = max(1, PIXELS_PER_BLOCK // math.prod(pixels.shape[1:]))
    return (slice(start, start + length) for start in range(0, len(pixels) if count is None else count, length))
