"""Which pictures train and which validate, where the data does not say: a stratified part, from the seed."""

import hashlib

import numpy as np

from underhood.data.images import Images


def copies(*arrays: np.ndarray) -> np.ndarray:
    """Group exact copies among pictures, each array uint8 [n, c, h, w]: int64 [all], equal numbers for equal pictures."""
    numbers: dict[bytes, int] = {}
    rows = (row for array in arrays for row in np.ascontiguousarray(array).reshape(len(array), -1))
    digests = (hashlib.blake2b(row.data, digest_size=16).digest() for row in rows)
    return np.fromiter((numbers.setdefault(digest, len(numbers)) for digest in digests), np.int64)


def hold_out(images: Images, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split into (training rows, validation rows): this fraction of each class, exact copies on one side.

    Every class keeps at least one picture for training and, with two that differ, gets at least one for validation.
    Both keep the pictures' order.
    """
    group = copies(images.pixels)
    order = np.random.default_rng(seed).permutation(group.max() + 1)  # whole groups are shuffled
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    taken = np.zeros(len(order), bool)  # groups that validate
    fixed = np.zeros(len(order), bool)  # groups already placed, by an earlier class that shares a copy
    for label in range(len(images.classes)):
        mine, sizes = np.unique(group[images.labels == label], return_counts=True)
        mine, sizes = (a[np.argsort(place[mine])] for a in (mine, sizes))
        wanted = max(1, round(fraction * sizes.sum())) - sizes[taken[mine]].sum()
        free = ~fixed[mine]
        reached = np.cumsum(np.where(free, sizes, 0))
        chosen = free & (reached <= wanted)
        if not chosen.any() and wanted > 0 and free.any():
            chosen[np.argmin(np.where(free, sizes, sizes.max() + 1))] = True
        if (taken[mine] | chosen).all():  # the class would have nothing to train on
            chosen[np.flatnonzero(chosen)[-1:]] = False
        taken[mine[chosen]] = True
        fixed[mine] = True
    validates = taken[group]
    return np.flatnonzero(~validates), np.flatnonzero(validates)


def sample(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """At most ``count`` rows, each class in proportion, in their order: int64 [≤ count]."""
    if count >= len(labels):
        return np.arange(len(labels))
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    sizes = np.bincount(labels)
    rank = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)  # within its class: 0, 1, …
    share = rank / sizes[labels[by_class]]
    return np.sort(by_class[np.argsort(share, kind="stable")[:count]])
