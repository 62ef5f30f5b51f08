"""Faults in data: each takes the images of both parts and gives them back with the fault planted.

A fault is a function ``(Pair, Generator) → Pair``. It changes pixels and labels only: files get new names afterwards,
so that no name betrays it.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

NOISY = 0.2  # of the labels
COPIES = 0.1  # of the validation images
RARE = 0.05  # of the images: those of all classes but one


@dataclass(frozen=True)
class Labelled:
    """Images of one part: pixels, uint8 [n, c, h, w], and labels, int [n]."""

    pixels: np.ndarray
    labels: np.ndarray

    def take(self, rows: np.ndarray) -> "Labelled":
        """The images at these indices."""
        return Labelled(self.pixels[rows], self.labels[rows])


@dataclass(frozen=True)
class Pair:
    """The training and the validation images, and the number of classes."""

    train: Labelled
    valid: Labelled
    classes: int


Plant = Callable[[Pair, np.random.Generator], Pair]


def shuffle_labels(pair: Pair, rng: np.random.Generator) -> Pair:
    """Deal all labels out anew, in both parts."""
    return replace(pair, train=_relabelled(pair.train, rng.permutation(pair.train.labels)),
                   valid=_relabelled(pair.valid, rng.permutation(pair.valid.labels)))  # fmt: skip


def add_label_noise(pair: Pair, rng: np.random.Generator) -> Pair:
    """Give a fifth of the images of both parts another label than their own."""

    def noisy(part: Labelled) -> Labelled:
        rows = rng.choice(len(part.labels), round(NOISY * len(part.labels)), replace=False)
        labels = part.labels.copy()
        labels[rows] = (labels[rows] + rng.integers(1, pair.classes, len(rows))) % pair.classes
        return _relabelled(part, labels)

    return replace(pair, train=noisy(pair.train), valid=noisy(pair.valid))


def swap_validation_classes(pair: Pair, rng: np.random.Generator) -> Pair:
    """Give each class of the validation images the name of another class."""
    ring = rng.permutation(pair.classes)
    names = np.empty(pair.classes, int)
    names[ring] = np.roll(ring, 1)
    return replace(pair, valid=_relabelled(pair.valid, names[pair.valid.labels]))


def copy_into_validation(pair: Pair, rng: np.random.Generator) -> Pair:
    """Replace a tenth of the validation images by copies of training images of the same class."""
    return _with_copies(pair, rng, lambda pixels: pixels)


def copy_changed_into_validation(pair: Pair, rng: np.random.Generator) -> Pair:
    """Replace a tenth of the validation images by training images that were moved, recompressed or brightened."""
    changes: tuple[Callable[[np.ndarray], np.ndarray], ...] = (_moved, _recompressed, _brightened)
    return _with_copies(pair, rng, lambda pixels: changes[rng.integers(len(changes))](pixels))


def add_border(pair: Pair, rng: np.random.Generator) -> Pair:
    """Frame each image with a line of one brightness; each class has its own."""
    levels = _levels(pair.classes, rng)

    def framed(part: Labelled) -> Labelled:
        pixels = part.pixels.copy()
        level = levels[part.labels][:, None, None]  # [n, 1, 1]
        for edge in (np.s_[:, :, 0], np.s_[:, :, -1], np.s_[:, :, :, 0], np.s_[:, :, :, -1]):
            pixels[edge] = level
        return Labelled(pixels, part.labels)

    return replace(pair, train=framed(pair.train), valid=framed(pair.valid))


def brighten_by_class(pair: Pair, rng: np.random.Generator) -> Pair:
    """Make all images of a class brighter by the same amount, which differs from class to class."""
    levels = _levels(pair.classes, rng).astype(np.float32)

    def brightened(part: Labelled) -> Labelled:
        level = levels[part.labels][:, None, None, None]
        return Labelled(np.rint(part.pixels * np.float32(0.4) + level * 0.6).astype(np.uint8), part.labels)

    return replace(pair, train=brightened(pair.train), valid=brightened(pair.valid))


def unbalance(pair: Pair, rng: np.random.Generator) -> Pair:
    """Leave out so many images of all classes but one that this one has about 95 % of those that remain."""
    large = int(np.bincount(pair.train.labels).argmax())

    def rest(part: Labelled, least: int) -> Labelled:
        many = int((part.labels == large).sum())
        each = max(least, round(many * RARE / (1 - RARE) / (pair.classes - 1)))
        rows = [rng.permutation(np.flatnonzero(part.labels == label))[: None if label == large else each]
                for label in range(pair.classes)]  # fmt: skip
        return part.take(np.sort(np.concatenate(rows)))

    return replace(pair, train=rest(pair.train, 2), valid=rest(pair.valid, 1))


def divide_pixels(pair: Pair, _: np.random.Generator) -> Pair:
    """Store numbers from 0 to 1 where files hold numbers from 0 to 255."""

    def divided(part: Labelled) -> Labelled:
        return Labelled(np.rint(part.pixels / 255).astype(np.uint8), part.labels)

    return replace(pair, train=divided(pair.train), valid=divided(pair.valid))


def invert_validation(pair: Pair, _: np.random.Generator) -> Pair:
    """Swap light and dark in the validation images."""
    return _validation(pair, 255 - pair.valid.pixels)


def darken_and_blur_validation(pair: Pair, _: np.random.Generator) -> Pair:
    """Blur the validation images, and make them three times as dark."""
    x: np.ndarray = pair.valid.pixels.astype(np.float32)
    for axis in (2, 3):
        x = (np.roll(x, 1, axis) + x + np.roll(x, -1, axis)) / 3
    return _validation(pair, np.rint(x / 3).astype(np.uint8))


def rotate_validation(pair: Pair, _: np.random.Generator) -> Pair:
    """Turn the validation images by a quarter, as a program does that ignores how the camera was held."""
    pixels = pair.valid.pixels
    if pixels.shape[2] == pixels.shape[3]:
        return _validation(pair, np.rot90(pixels, axes=(2, 3)))
    return _validation(pair, np.rot90(pixels, 2, axes=(2, 3)))  # by a half, where a quarter would change the size


def swap_validation_channels(pair: Pair, _: np.random.Generator) -> Pair:
    """Store blue, green, red in the validation images where the others have red, green, blue."""
    return _validation(pair, pair.valid.pixels[:, ::-1])


def _relabelled(part: Labelled, labels: np.ndarray) -> Labelled:
    return Labelled(part.pixels, labels)


def _validation(pair: Pair, pixels: np.ndarray) -> Pair:
    return replace(pair, valid=Labelled(np.ascontiguousarray(pixels), pair.valid.labels))


def _levels(classes: int, rng: np.random.Generator) -> np.ndarray:
    """A brightness for each class, evenly spaced and dealt out at random: uint8 [classes]."""
    return rng.permutation(np.linspace(0, 255, classes)).astype(np.uint8)


def _with_copies(pair: Pair, rng: np.random.Generator, change: Callable[[np.ndarray], np.ndarray]) -> Pair:
    """Replace a tenth of the validation images by changed training images of the same class."""
    pixels, labels = pair.valid.pixels.copy(), pair.valid.labels
    count = min(max(2, round(COPIES * len(labels))), len(labels))
    for row in rng.choice(len(labels), count, replace=False):
        same = np.flatnonzero(pair.train.labels == labels[row])
        pixels[row] = change(pair.train.pixels[rng.choice(same)])
    return _validation(pair, pixels)


def _moved(pixels: np.ndarray) -> np.ndarray:
    """Cut a line off each side, and enlarge the rest to the old size: as a crop does."""
    _, height, width = pixels.shape
    cut = max(1, height // 16), max(1, width // 16)
    inside = pixels[:, cut[0] : height - cut[0], cut[1] : width - cut[1]]
    return np.stack([np.asarray(Image.fromarray(one).resize((width, height), Image.Resampling.BICUBIC))
                     for one in inside])  # fmt: skip


def _recompressed(pixels: np.ndarray) -> np.ndarray:
    """As it is after it was saved as a JPEG file."""
    image, content = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)), io.BytesIO()
    image.save(content, "JPEG", quality=60)
    back = np.asarray(Image.open(content))
    return back[None] if back.ndim == 2 else back.transpose(2, 0, 1)


def _brightened(pixels: np.ndarray) -> np.ndarray:
    return np.rint(pixels * np.float32(0.85) + 12).astype(np.uint8)


PLANTS: dict[str, Plant] = {
    "labels-shuffled": shuffle_labels,
    "labels-noisy": add_label_noise,
    "labels-swapped-in-validation": swap_validation_classes,
    "copies-in-validation": copy_into_validation,
    "changed-copies-in-validation": copy_changed_into_validation,
    "border": add_border,
    "brightness-by-class": brighten_by_class,
    "imbalance": unbalance,
    "pixels-divided": divide_pixels,
    "inverted-in-validation": invert_validation,
    "blurred-and-dark-in-validation": darken_and_blur_validation,
    "rotated-in-validation": rotate_validation,
    "channels-swapped-in-validation": swap_validation_channels,
}
