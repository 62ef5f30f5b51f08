"""Near-duplicates: copies of an image that were resized, recompressed, cropped, brightened, mirrored or turned."""

import numpy as np

from underhood.data.alignment import IDENTITY, PAIRS, SMALLEST, agreement, align, grey

SAME = 0.7  # the similarity from which on two images are near-duplicates


def similarity(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """How similar the images of each pair are once they are aligned, from 0 to 1: float [n].

    first, second: prepared images, uint8 [n, c, h, w] each. Pairs at SAME or above are near-duplicates. Brightness,
    contrast, small shifts, turns and changes of scale do not count. 0 for blank images and those that are too small.
    """
    if not len(first) or min(first.shape[2:]) < SMALLEST:
        return np.zeros(len(first))
    scores = []
    for start in range(0, len(first), PAIRS):
        one, other = (grey(images[start : start + PAIRS]) for images in (first, second))
        begin = np.repeat(IDENTITY[None], len(one), axis=0)
        square = np.full(len(one), first.shape[3] / first.shape[2])
        scores.append(score(agreement(one, other, align(one, other, begin, square))))
    return np.concatenate(scores)


def score(agreed: np.ndarray) -> np.ndarray:
    """One number from 0 to 1, float [n], for what ``agreement`` measured, float [n, 3]."""
    return np.sqrt(agreed[:, 0] * agreed[:, 1]) * (agreed[:, 2] >= 0.5)
