"""Propose pairs of images by perceptual hashes of the image and of its mirror image (``imagehash``). No torch."""

import numpy as np
from PIL import Image

from underhood.data.alignment import IDENTITY

HASHED = 5_000  # images, at most: a hash takes a fifth of a millisecond
DISTANCE = 8  # of 64 bits: the largest of a pair that is proposed
NEAREST = 2  # images that are proposed for an image, at most
MIRROR = np.array([[-1, 0, 0], [0, 1, 0]], np.float32)  # of x and y from −1 to 1


def perceptual_hashes(images: np.ndarray) -> np.ndarray:
    """The 64 bits of ``imagehash.phash`` of grey images [n, s, s]: bool [n, 64]."""
    import imagehash

    rows = [imagehash.phash(Image.fromarray(one)).hash.ravel() for one in images.clip(0, 255).astype(np.uint8)]
    return np.array(rows, bool).reshape(-1, 64)


def hash_pairs(images: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of grey images [n, s, s] whose hashes differ in few bits: an image, int64 [m], the other, and the change.

    The change, float32 [m, 2, 3], is none, or that the image was mirrored. There are no pairs among more than HASHED
    images.
    """
    first, second, change = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros((0, 2, 3), np.float32)]
    if len(images) <= HASHED:
        signs = perceptual_hashes(images) * np.float32(2) - 1
        for queries, how in ((signs, IDENTITY), (perceptual_hashes(images[:, :, ::-1]) * np.float32(2) - 1, MIRROR)):
            distance = (64 - queries @ signs.T) / 2
            np.fill_diagonal(distance, 65)
            nearest = np.argsort(distance, axis=1, kind="stable")[:, :NEAREST]
            i, j = np.nonzero(np.take_along_axis(distance, nearest, axis=1) <= DISTANCE)
            first.append(i)
            second.append(nearest[i, j])
            change.append(np.repeat(how[None], len(i), axis=0))
    return np.concatenate(first), np.concatenate(second), np.concatenate(change)
