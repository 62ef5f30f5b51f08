"""Hashes of images, exact copies among them, and the split into training and validation images.

The split is stratified, comes from the seed, and never puts copies of an image, or images of a group, on both sides.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from underhood.core.images import Images

Links = tuple[np.ndarray, np.ndarray]  # pairs of images, int64 [m] each


def hash_images(pixels: np.ndarray) -> np.ndarray:
    """64 bits of BLAKE2b of each image's pixels, uint8 [n, c, h, w]: uint64 [n], equal for equal pixels."""
    rows = np.ascontiguousarray(pixels).reshape(len(pixels), math.prod(pixels.shape[1:]))
    digests = b"".join([hashlib.blake2b(row.data, digest_size=8).digest() for row in rows])
    return np.frombuffer(digests, "<u8")


def image_hashes(images: Images) -> np.ndarray:
    """The hash of each image, uint64 [n]: the precomputed ones if there are any."""
    return hash_images(images.pixels) if images.precomputed_hashes is None else images.precomputed_hashes


def digest(images: Images) -> str:
    """SHA-256 of the images' hashes, labels, classes and names: equal if and only if the images are equal."""
    whole = hashlib.sha256(repr((images.pixels.shape, images.classes)).encode())
    whole.update(np.ascontiguousarray(image_hashes(images), dtype="<u8").data)
    whole.update(np.ascontiguousarray(images.labels, dtype="<i8").data)
    whole.update("\0".join(images.names).encode("utf-8", "surrogateescape"))
    return whole.hexdigest()


def join(parts: Sequence[Images]) -> Images:
    """Several parts of the same classes as one."""
    if len(parts) == 1:
        return parts[0]
    pixels = np.concatenate([part.pixels for part in parts])
    labels = np.concatenate([part.labels for part in parts])
    names = [name for part in parts for name in part.names]
    return Images(pixels, labels, parts[0].classes, names, np.concatenate([image_hashes(part) for part in parts]))


def group_copies(hashes: np.ndarray) -> np.ndarray:
    """The group of each image, uint64 [n] → int64 [n]: copies share one; groups are numbered as they first occur."""
    _, first, which = np.unique(hashes, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[which]


def unite(count: int, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The component of each of ``count`` nodes, int64 [count], where these pairs of nodes, int [m] each, are linked."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    links = coo_array((np.ones(len(first), bool), (first, second)), shape=(count, count))
    return connected_components(links, directed=False)[1].astype(np.int64)


def link_equal(values: np.ndarray) -> Links:
    """Pairs that link all entries of equal value, of any array [n]."""
    order = np.argsort(values, kind="stable")
    same = values[order[1:]] == values[order[:-1]]
    return order[:-1][same], order[1:][same]


def hold_out(
    images: Images, fraction: float, seed: int, groups: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Split into training rows and validation rows, int64 [n] each: this fraction of each class is for validation.

    Copies of an image stay on one side. Every class keeps at least one image for training and, if it has two different
    ones, has at least one for validation. Images with two labels are for training. The order is kept.

    groups: the group of each image, int64 [n], which stays on one side, and may have images of several classes. Groups
        are for validation one after the other, in random order, where that brings each class nearer to its fraction;
        then the smallest that a class without any can spare.
    """
    if groups is not None:
        return _hold_out_groups(images, fraction, seed, groups)
    group, ambiguous = _groups(images)
    place = np.random.default_rng(seed).permutation(len(ambiguous))  # groups are shuffled as a whole
    held_out = np.zeros(len(ambiguous), bool)  # groups for validation
    for label in range(len(images.classes)):
        mine, sizes = np.unique(group[images.labels == label], return_counts=True)
        if len(mine) < 2:
            continue
        shuffled = np.argsort(place[mine])
        mine, sizes = mine[shuffled], sizes[shuffled]
        free = ~ambiguous[mine]
        chosen = _fill(sizes, free, max(1, round(fraction * sizes.sum())))
        if not chosen.any() and free.any():
            chosen[np.argmin(np.where(free, sizes, sizes.sum()))] = True
        if chosen.all():  # no group would be left for training
            chosen[-1] = False
        held_out[mine[chosen]] = True
    is_valid = held_out[group]
    return np.flatnonzero(~is_valid), np.flatnonzero(is_valid)


def folds(images: Images, count: int, seed: int, groups: np.ndarray | None = None) -> np.ndarray:
    """The fold of each image, 0 to ``count`` − 1: int64 [n]. Each class is in all folds, copies are in the same one.

    −1 for images with two labels and for images whose class has no other image.
    groups: the group of each image, int64 [n], which is in one fold. A class of fewer groups than folds is in as many
        folds as it can, and −1 is the fold of a group without which a class could not be trained.
    """
    if groups is not None:
        return _folds_of_groups(images, count, seed, groups)
    group, ambiguous = _groups(images)
    place = np.random.default_rng(seed).permutation(len(ambiguous))
    fold = np.full(len(ambiguous), -1)
    for label in range(len(images.classes)):
        mine = np.unique(group[images.labels == label])
        mine = mine[~ambiguous[mine]]
        if len(mine) > 1:
            fold[mine[np.argsort(place[mine])]] = np.arange(len(mine)) % count
    return fold[group]


def sample(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """At most ``count`` rows of labels, int64 [n], each class in proportion, in their order: int64 [≤ count]."""
    if count >= len(labels):
        return np.arange(len(labels))
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    sizes = np.bincount(labels)
    rank = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)  # within its class: 0, 1, …
    share = rank / sizes[labels[by_class]]
    return np.sort(by_class[np.argsort(share, kind="stable")[:count]])


def find_copies(parts: dict[str, Images]) -> dict[str, list[dict[str, Any]]]:
    """Find exact copies by the pixels that a model would see. One entry for each copied image, with its ``paths``.

    conflicts:  the same image in two classes (with ``classes``)
    leaks:      the same image in two parts, such as train and valid (with ``parts``)
    duplicates: the same image twice in one class and part
    """
    found: dict[str, list[dict[str, Any]]] = {"conflicts": [], "leaks": [], "duplicates": []}
    for copies in _copied(parts):
        paths = [path for path, _, _ in copies]
        classes = list(dict.fromkeys(name for _, name, _ in copies))
        parts_met = list(dict.fromkeys(part for _, _, part in copies))
        if len(classes) > 1:
            found["conflicts"].append({"paths": paths, "classes": classes})
        if len(parts_met) > 1:
            found["leaks"].append({"paths": paths, "parts": parts_met})
        places = Counter((name, part) for _, name, part in copies)
        twice = [path for path, name, part in copies if places[name, part] > 1]
        if twice:
            found["duplicates"].append({"paths": twice})
    return found


def describe_copies(found: dict[str, list[dict[str, Any]]]) -> list[str]:
    """One line of warning for each kind of copies that ``find_copies`` found."""
    kinds = {
        "conflicts": "in two classes",
        "leaks": "in two parts: the figures on the second part are too good",
        "duplicates": "twice in one class",
    }
    lines = []
    for kind, where in kinds.items():
        if found[kind]:
            first = " = ".join(found[kind][0]["paths"][:3])
            lines.append(f"{len(found[kind])} image{'s' if len(found[kind]) > 1 else ''} {where} (first: {first})")
    return lines


def across_parts(groups: dict[str, np.ndarray]) -> dict[tuple[str, str], int]:
    """How many groups two parts share: (part, other part) → count, where there are any. groups: part → int64 [n]."""
    parts = list(groups)
    pairs = ((one, other) for i, one in enumerate(parts) for other in parts[i + 1 :])
    shared = {pair: len(np.intersect1d(groups[pair[0]], groups[pair[1]])) for pair in pairs}
    return {pair: count for pair, count in shared.items() if count}


def _groups(images: Images) -> tuple[np.ndarray, np.ndarray]:
    """The group of copies of each image, int64 [n], and whether its copies have two labels, bool [groups]."""
    group = group_copies(image_hashes(images))
    once = np.unique(np.stack([group, images.labels]), axis=1)[0]  # each group once for each of its labels
    return group, np.bincount(once, minlength=int(group.max()) + 1) > 1


@dataclass(frozen=True)
class _Counts:
    """How many images of each class each group has. An array would have room for each group with each class."""

    starts: np.ndarray  # int64 [groups + 1], of each group in the two below
    labels: np.ndarray  # int64 [m]
    numbers: np.ndarray  # int64 [m]
    classes: int

    def of(self, group: int) -> np.ndarray:
        """Images per class of a group, int64 [classes]."""
        mine = slice(self.starts[group], self.starts[group + 1])
        row = np.zeros(self.classes, np.int64)
        row[self.labels[mine]] = self.numbers[mine]
        return row


def _united(images: Images, groups: np.ndarray) -> tuple[np.ndarray, _Counts, np.ndarray]:
    """Groups and copies as groups: that of each image, int64 [n], their images, and whether an image in it has two
    labels, bool [groups]."""
    copies, ambiguous = _groups(images)
    pairs = zip(link_equal(copies), link_equal(groups), strict=True)
    group, classes = unite(len(images), *(np.concatenate(ends) for ends in pairs)), len(images.classes)
    both, numbers = np.unique(group * classes + images.labels, return_counts=True)
    count = int(group.max()) + 1
    starts = np.searchsorted(both, np.arange(count + 1) * classes)
    counts = _Counts(starts, both % classes, numbers, classes)
    return group, counts, np.bincount(group, ambiguous[copies], count) > 0


def _hold_out_groups(
    images: Images, fraction: float, seed: int, groups: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """``hold_out`` in whole groups."""
    group, counts, ambiguous = _united(images, groups)
    sizes, total = np.bincount(group), np.bincount(images.labels, minlength=len(images.classes))
    wanted, held = fraction * total, np.zeros_like(total)
    is_held = np.zeros(len(sizes), bool)

    def spared(one: int) -> bool:  # whether each class keeps an image for training
        mine = counts.of(one)
        return not ambiguous[one] and bool((held + mine < total)[mine > 0].all())

    weight = 1 / np.maximum(total, 1)
    shuffled = np.random.default_rng(seed).permutation(len(sizes))
    for one in shuffled.tolist():
        mine = counts.of(one)
        nearer = np.abs(held + mine - wanted) - np.abs(held - wanted)
        if nearer @ weight < 0 and spared(one):
            is_held[one], held = True, held + mine
    for label in np.flatnonzero((held == 0) & (total > 0)).tolist():
        if not held[label]:
            having = np.isin(shuffled, group[images.labels == label])
            able = [one for one in shuffled[having].tolist() if not is_held[one] and spared(one)]
            if able:
                smallest = min(able, key=lambda one: int(sizes[one]))
                is_held[smallest], held = True, held + counts.of(smallest)
    is_valid = is_held[group]
    return np.flatnonzero(~is_valid), np.flatnonzero(is_valid)


def _folds_of_groups(images: Images, count: int, seed: int, groups: np.ndarray) -> np.ndarray:
    """``folds`` in whole groups: the largest first, each into the fold that has the least of its classes."""
    group, counts, ambiguous = _united(images, groups)
    sizes, total = np.bincount(group), np.bincount(images.labels, minlength=len(images.classes))
    place = np.random.default_rng(seed).permutation(len(sizes))
    load = np.zeros((count + 1, len(total)), np.int64)  # images per fold and class; the last row: in no fold
    load[count] = np.bincount(images.labels[ambiguous[group]], minlength=len(total))
    left = total - load[count]  # of groups without a fold so far
    fold = np.full(len(sizes), -1)
    for one in sorted(np.flatnonzero(~ambiguous).tolist(), key=lambda one: (-int(sizes[one]), place[one])):
        row = counts.of(one)
        mine = row > 0
        left = left - row
        elsewhere = load.sum(axis=0) - load[:count] + left  # [folds, classes]: to train on
        allowed = (elsewhere[:, mine] > 0).all(axis=1)
        cost = (load[:count, mine] * row[mine] / total[mine]).sum(axis=1) + 1e-6 * load[:count].sum(axis=1)
        chosen = int(np.argmin(np.where(allowed, cost, np.inf))) if allowed.any() else count
        fold[one] = chosen if chosen < count else -1
        load[chosen] += row
    return fold[group]


def _fill(sizes: np.ndarray, free: np.ndarray, wanted: int) -> np.ndarray:
    """The first free groups that together hold ``wanted`` images; a group too large for what is left is skipped."""
    chosen = np.zeros(len(sizes), bool)
    for i in np.flatnonzero(free).tolist():
        if sizes[i] <= wanted:
            chosen[i] = True
            wanted -= sizes[i]
            if not wanted:
                break
    return chosen


def _copied(parts: dict[str, Images]) -> list[list[tuple[str, str, str]]]:
    """(path, class, part) of each copy of an image, for each image that occurs more than once."""
    images = list(parts.values())
    group = group_copies(np.concatenate([image_hashes(part) for part in images]))
    starts = np.cumsum([0] + [len(part) for part in images])
    members: dict[int, list[tuple[str, str, str]]] = {}
    for row in np.flatnonzero(np.bincount(group)[group] > 1).tolist():
        part = int(np.searchsorted(starts, row, side="right")) - 1
        i = row - starts[part]
        where = (images[part].names[i], images[part].classes[images[part].labels[i]], list(parts)[part])
        members.setdefault(int(group[row]), []).append(where)
    return list(members.values())
