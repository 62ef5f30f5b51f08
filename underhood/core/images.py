"""The one shape in which pictures travel: whole arrays of uint8 pixels with their labels.

Fastbook's chapter 4 stacks its 3s and 7s into one rank-3 tensor each; here all classes share one array with an axis for
channels, so that grey and colour, digits and photographs are the same thing.
"""

import hashlib
import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from underhood.preparation.prepare import Preparation

BLOCK = 200_000  # pixels at a time where wider copies are made of them: what the processor's cache holds


@dataclass(frozen=True)
class Images:
    """Pictures as pixels.

    pixels:  uint8 [n, c, h, w], 0 black to 255 white, c is 1 (grey) or 3 (red, green, blue)
    labels:  int64 [n], each an index into ``classes``
    classes: the names, in natural order
    names:   n file names, relative to the data's folder
    known:   what ``hashes`` gives, from whoever looked at the pixels before
    """

    pixels: np.ndarray  # [n, c, h, w]
    labels: np.ndarray  # [n]
    classes: tuple[str, ...]
    names: Sequence[str]
    known: np.ndarray | None = None  # [n]

    def __post_init__(self) -> None:
        if self.pixels.dtype != np.uint8 or self.pixels.ndim != 4:
            raise ValueError(f"pixels must be uint8 [n, c, h, w], not {self.pixels.dtype} {self.pixels.shape}")
        if not len(self.pixels) == len(self.labels) == len(self.names):
            raise ValueError(f"{len(self.pixels)} pictures, {len(self.labels)} labels, {len(self.names)} names")

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[np.ndarray, int]:
        """Picture i as (pixels [c, h, w], label)."""
        return self.pixels[i], int(self.labels[i])

    def take(self, rows: np.ndarray) -> "Images":
        """The pictures at these indices (or where this mask is true), in that order."""
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows
        hashes = self.__dict__.get("hashes", self.known)
        return Images(
            _take(self.pixels, rows), self.labels[rows], self.classes, [self.names[i] for i in rows.tolist()],
            None if hashes is None else hashes[rows],
        )  # fmt: skip

    def counts(self) -> dict[str, int]:
        """How many pictures each class has."""
        per_class = np.bincount(self.labels, minlength=len(self.classes))
        return dict(zip(self.classes, per_class.tolist(), strict=True))

    @cached_property
    def hashes(self) -> np.ndarray:
        """A number for each picture, equal for equal pixels: uint64 [n]. Each picture is looked at once."""
        return hash_pictures(self.pixels) if self.known is None else self.known

    def digest(self) -> str:
        """SHA-256 of the pictures' hashes, labels, classes and names: equal if and only if the pictures are."""
        whole = hashlib.sha256(repr((self.pixels.shape, self.classes)).encode())
        whole.update(np.ascontiguousarray(self.hashes, dtype="<u8").data)
        whole.update(np.ascontiguousarray(self.labels, dtype="<i8").data)
        whole.update("\0".join(self.names).encode("utf-8", "surrogateescape"))
        return whole.hexdigest()

    def pixel_statistics(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation of each channel, in pixel units (0 to 255): float64 [c], float64 [c].

        Counted as whole numbers, so that the result does not depend on the order or on the number of threads.
        A channel of one single value gets a deviation of 1.
        """
        levels = np.arange(256, dtype=np.float64)
        means, deviations = [], []
        for channel in range(self.pixels.shape[1]):
            pairs, odd = np.zeros((256, 256), np.int64), np.zeros(256, np.int64)  # counting two at once is quicker
            for rows in blocks(self.pixels):
                values = self.pixels[rows, channel].ravel()
                even = values[: len(values) // 2 * 2].view(np.uint16)
                pairs += np.bincount(even, minlength=65536).reshape(256, 256)
                odd[values[len(even) * 2 :]] += 1
            histogram = pairs.sum(axis=0) + pairs.sum(axis=1) + odd
            mean = histogram @ levels / histogram.sum()
            deviation = np.sqrt(histogram @ (levels - mean) ** 2 / histogram.sum())
            means.append(mean)
            deviations.append(deviation or 1.0)
        return np.array(means), np.array(deviations)


def join(parts: Sequence[Images]) -> Images:
    """Pictures of the same classes as one."""
    if len(parts) == 1:
        return parts[0]
    pixels = np.concatenate([part.pixels for part in parts])
    labels = np.concatenate([part.labels for part in parts])
    names = [name for part in parts for name in part.names]
    return Images(pixels, labels, parts[0].classes, names, np.concatenate([part.hashes for part in parts]))


def hash_pictures(pixels: np.ndarray) -> np.ndarray:
    """64 bits of BLAKE2b of each picture's pixels [n, c, h, w]: uint64 [n]."""
    rows = np.ascontiguousarray(pixels).reshape(len(pixels), math.prod(pixels.shape[1:]))
    digests = b"".join([hashlib.blake2b(row.data, digest_size=8).digest() for row in rows])
    return np.frombuffer(digests, "<u8")


def blocks(pixels: np.ndarray, count: int | None = None) -> Iterator[slice]:
    """The rows of pictures [n, c, h, w], or of ``count`` such, as many whole ones at a time as make a block."""
    length = max(1, BLOCK // math.prod(pixels.shape[1:]))
    total = len(pixels) if count is None else count
    return (slice(start, min(start + length, total)) for start in range(0, total, length))


def _take(pixels: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """``pixels[rows]``; of pixels in a file, in a file again, beside it and without a name: gone with the process."""
    if not isinstance(pixels, np.memmap):
        return pixels[rows]
    place = Path(pixels.filename).parent if pixels.filename else None
    with tempfile.TemporaryFile(dir=place if place and os.access(place, os.W_OK) else None) as file:
        if hasattr(os, "posix_fallocate"):  # a full disk is an error here, not a signal on some later write
            os.posix_fallocate(file.fileno(), 0, max(1, len(rows)) * math.prod(pixels.shape[1:]))
        taken = np.memmap(file, np.uint8, "w+", shape=(max(1, len(rows)), *pixels.shape[1:]))
    for block in blocks(pixels, len(rows)):
        taken[block] = pixels[rows[block]]
    return taken[: len(rows)]


@dataclass(frozen=True)
class Dataset:
    """What a model is trained and measured on.

    ``notes`` says what was chosen and passed over; ``warnings`` what the reader should look at. ``left_out`` maps each
    unreadable picture that ``skip_bad`` left out to the reason.
    """

    name: str
    train: Images
    valid: Images
    test: Images | None
    preparation: Preparation
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def classes(self) -> tuple[str, ...]:
        """Their names, in natural order: what labels are indices into."""
        return self.train.classes

    @property
    def parts(self) -> dict[str, Images]:
        """The parts by name, in order: train, valid and, where there is one, test."""
        parts = {"train": self.train, "valid": self.valid}
        return parts | ({"test": self.test} if self.test is not None else {})
