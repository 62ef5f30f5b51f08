"""Which pictures train and which validate, where the data does not say: a stratified part, from the seed."""

import numpy as np

from underhood.core.images import Images


def copies(hashes: np.ndarray) -> np.ndarray:
    """Number pictures from 0 on, in the order in which they come, exact copies alike: uint64 [n] → int64 [n]."""
    _, first, which = np.unique(hashes, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[which]


def _groups(images: Images) -> tuple[np.ndarray, np.ndarray]:
    """The group of copies that each picture is in, int64 [n], and whether two classes claim it, bool [groups]."""
    group = copies(images.hashes)
    claims = np.unique(np.stack([group, images.labels]), axis=1)[0]  # a group once for each class that claims it
    return group, np.bincount(claims, minlength=int(group.max()) + 1) > 1


def hold_out(images: Images, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split into (training rows, validation rows), int64 [n] each: this fraction of each class, copies on one side.

    Every class keeps at least one picture for training and, with two that differ, gives at least one for validation.
    A picture that two classes claim trains. Both results keep the pictures' order.
    """
    group, shared = _groups(images)
    place = np.random.default_rng(seed).permutation(len(shared))  # whole groups are shuffled
    taken = np.zeros(len(shared), bool)  # groups that validate
    for label in range(len(images.classes)):
        mine, sizes = np.unique(group[images.labels == label], return_counts=True)
        if len(mine) < 2:
            continue
        shuffled = np.argsort(place[mine])
        mine, sizes = mine[shuffled], sizes[shuffled]
        free = ~shared[mine]
        chosen = _fill(sizes, free, max(1, round(fraction * sizes.sum())))
        if not chosen.any() and free.any():
            chosen[np.argmin(np.where(free, sizes, sizes.sum()))] = True
        if chosen.all():  # nothing would be left to train on
            chosen[-1] = False
        taken[mine[chosen]] = True
    validates = taken[group]
    return np.flatnonzero(~validates), np.flatnonzero(validates)


def folds(images: Images, count: int, seed: int) -> np.ndarray:
    """Which of ``count`` parts each picture is in, each class in all of them, exact copies in one: int64 [n].

    −1 for a picture that two classes claim, and for one whose class has no other.
    """
    group, shared = _groups(images)
    place = np.random.default_rng(seed).permutation(len(shared))
    part = np.full(len(shared), -1)
    for label in range(len(images.classes)):
        mine = np.unique(group[images.labels == label])
        mine = mine[~shared[mine]]
        if len(mine) > 1:
            part[mine[np.argsort(place[mine])]] = np.arange(len(mine)) % count
    return part[group]


def _fill(sizes: np.ndarray, free: np.ndarray, wanted: int) -> np.ndarray:
    """The first free groups that together hold ``wanted`` pictures; one too large for what is left is passed by."""
    chosen = np.zeros(len(sizes), bool)
    for i in np.flatnonzero(free).tolist():
        if sizes[i] <= wanted:
            chosen[i] = True
            wanted -= sizes[i]
            if not wanted:
                break
    return chosen


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
