"""Propose pairs of images that may be copies: the nearest of every image, also once it is mirrored, cropped or turned.

Grey images are blurred and normalised, so that brightness, contrast and noise hardly count, and reduced to their
principal components. All are compared with all, by matrix products. No torch here.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from underhood.data.alignment import IDENTITY, PAIRS, blurred, warp, window
from underhood.data.hashes import MIRROR, hash_pairs

BLOCKS = 64  # of images: the nearest of each block is found, so about as many neighbours of an image are known
RANK, LEAST_RANK = 32, 12  # of the neighbour that shows how near unrelated images are: beyond a burst of frames
NEAREST = 4  # neighbours of an image that are proposed, at most
QUERIES = 1024  # images at a time
DIMENSIONS, FEWER_DIMENSIONS = 48, 32  # of the descriptors; the fewer for many images
SAMPLE = 5_000  # images that determine the principal components
EFFORT = {5_000: (4, 0.62), 20_000: (3, 0.5)}  # up to so many images → places of a crop in each direction, and gate
LEAST_EFFORT = 1, 0.35  # the gate: the distance of a neighbour that is proposed, relative to that of RANK, at most
SOFT = 1.0  # pixels: the blur of an image that was resized to half and back
ANGLE = np.deg2rad(5)
PROPOSED = 40_000  # pairs, at most: the nearest

TURN = np.array([[np.cos(ANGLE), -np.sin(ANGLE), 0], [np.sin(ANGLE), np.cos(ANGLE), 0]], np.float32)


class Pairs(NamedTuple):
    """Proposed pairs: what an image was changed by, its neighbour, and one that is related to it by chance only."""

    image: np.ndarray  # int64 [m]
    neighbour: np.ndarray  # int64 [m]
    unrelated: np.ndarray  # int64 [m], the neighbour of RANK
    change: np.ndarray  # float32 [m, 2, 3], from places in the neighbour to places in the image
    chance: np.ndarray  # float [m], the distance of an unrelated one: of the changed image or, if less, of the image
    ratio: np.ndarray  # float [m], the distance of the neighbour, relative to that
    order: np.ndarray  # float [m], and relative to that of an unrelated one of the changed image: the least come first

    def take(self, rows: np.ndarray) -> "Pairs":
        """The pairs at these indices, int64 [k]."""
        return Pairs(*(column[rows] for column in self))


def changes(count: int) -> list[tuple[np.ndarray, float]]:
    """The changes that are tried on ``count`` images, and a blur in pixels for each.

    A change is a transformation, float32 [2, 3], from places to places from −1 to 1.
    """
    places, _ = _effort(count)
    offsets = np.linspace(-0.16, 0.16, places) if places > 1 else [0.0]
    crops = [np.array([[0.8, 0, x], [0, 0.8, y]], np.float32) for x in offsets for y in offsets]
    sharp = [(change, 0.0) for change in (IDENTITY, MIRROR, TURN, *crops)]
    return [*sharp, (IDENTITY, SOFT)] if places > 1 else sharp


def _effort(count: int) -> tuple[int, float]:
    return next((effort for most, effort in EFFORT.items() if count <= most), LEAST_EFFORT)


def propose(images: np.ndarray, progress: Callable[[int, int], None] | None = None) -> Pairs:
    """The nearest pairs among grey images, float32 [n, s, s], the nearest first, each pair once.

    progress: called with the numbers of comparisons done and in total
    """
    count = len(images)
    described = describe(images, IDENTITY)
    axes = components(described)[:, : DIMENSIONS if count <= max(EFFORT) else FEWER_DIMENSIONS]
    targets = described @ axes
    order = np.random.default_rng(0).permutation(count)
    tried = changes(count)
    found: list[Pairs] = []
    unrelated, chance = np.zeros(count, np.int64), np.full(count, np.inf)
    for number, (change, blur) in enumerate(tried):
        queries = describe(images, change, blur) @ axes if number else targets
        for start, rows, distances in nearest(queries, targets, order):
            some, last = slice(start, start + len(rows)), _rank(rows.shape[1], count)
            if not number:
                unrelated[some], chance[some] = rows[:, last], np.sqrt(distances[:, last])
            found.append(_near(start, rows, np.sqrt(distances), chance[some], change, count))
            if progress:
                progress(number * count + min(start + QUERIES, count), len(tried) * count)
    image, neighbour, change = hash_pairs(images)
    hashed = Pairs(image, neighbour, unrelated[image], change, chance[image], chance[image], chance[image])
    ratio = relative_distances(images, hashed, change)
    found.append(hashed._replace(ratio=ratio, order=ratio))
    return _each_once(Pairs(*(np.concatenate(column) for column in zip(*found, strict=True))), count)


def _near(
    start: int, rows: np.ndarray, distances: np.ndarray, chance: np.ndarray, change: np.ndarray, count: int
) -> Pairs:
    """The neighbours of images from ``start`` on that are near enough to be proposed.

    rows, distances: of neighbours, int64 and float [q, b]; chance: the distance of one unrelated to the image, [q];
    count: of all images
    """
    last, (_, gate) = _rank(rows.shape[1], count), _effort(count)
    nearest, usual = distances[:, :NEAREST], np.maximum(distances[:, last], 1e-6)
    near = (nearest < gate * usual[:, None]) | (last < NEAREST)  # so few images: all are compared
    near &= rows[:, :NEAREST] != np.arange(start, start + len(rows))[:, None]
    i, j = np.nonzero(near)
    changes, least = np.repeat(change[None], len(i), axis=0), np.maximum(np.minimum(chance, usual), 1e-6)[i]
    return Pairs(i + start, rows[i, j], rows[i, last], changes, least, nearest[i, j] / least, nearest[i, j] / usual[i])


def _rank(known: int, count: int) -> int:
    """The rank of a neighbour that is related by chance only, from 0; fewer may be ``known``, the image itself last."""
    return max(0, min(RANK, max(LEAST_RANK, count // 100), known - 2))


def relative_distances(images: np.ndarray, pairs: Pairs, transforms: np.ndarray) -> np.ndarray:
    """The distance of the images of each pair, relative to that of an unrelated one: float [m].

    transforms: what the image is transformed by before it is compared with its neighbour, float32 [m, 2, 3]
    """
    ratios = [np.zeros(0)]
    for start in range(0, len(pairs.image), PAIRS):
        some = slice(start, start + PAIRS)
        image, neighbour = images[pairs.image[some]], images[pairs.neighbour[some]]
        changed = warp(image, transforms[some])[0].reshape(image.shape)
        distance = np.linalg.norm(describe(changed, IDENTITY) - describe(neighbour, IDENTITY), axis=1)
        ratios.append(distance / np.maximum(pairs.chance[some], 1e-6))
    return np.concatenate(ratios)


def _each_once(pairs: Pairs, count: int) -> Pairs:
    """Each pair once, the nearest first, at most PROPOSED, and of each image at most NEAREST."""
    pairs = pairs.take(np.argsort(pairs.order, kind="stable"))
    low, high = np.minimum(pairs.image, pairs.neighbour), np.maximum(pairs.image, pairs.neighbour)
    pairs = pairs.take(np.sort(np.unique(low * count + high, return_index=True)[1]))
    grouped = np.argsort(pairs.image, kind="stable")
    ordered = pairs.image[grouped]
    rank = np.empty(len(ordered), np.int64)
    rank[grouped] = np.arange(len(ordered)) - np.searchsorted(ordered, ordered)
    return pairs.take(np.flatnonzero(rank < NEAREST)[:PROPOSED])


def describe(images: np.ndarray, change: np.ndarray, blur: float = 0.0) -> np.ndarray:
    """Changed grey images [n, s, s], blurred and normalised to mean 0 and norm 1: float32 [n, values].

    blur: in pixels, beside that of all descriptors
    """
    half = images.shape[1] // 2
    seen = window(half)
    rows = []
    for start in range(0, len(images), QUERIES):
        some = images[start : start + QUERIES]
        if change is not IDENTITY:
            some = warp(some, np.repeat(change[None], len(some), axis=0))[0].reshape(some.shape)
        some = blurred(some, float(np.hypot(1.0, blur)))[:, : 2 * half, : 2 * half].reshape(len(some), half, 2, half, 2)
        flat = some.mean(axis=(2, 4)).reshape(len(some), -1)
        flat = (flat - (flat @ seen / seen.sum())[:, None]) * seen
        rows.append(flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-3))
    return np.concatenate(rows)


def components(described: np.ndarray) -> np.ndarray:
    """The first principal components of descriptors [n, values]: float32 [values, d]."""
    sample = described[:: max(1, len(described) // SAMPLE)]
    _, vectors = np.linalg.eigh(sample.T @ sample / len(sample))
    return np.ascontiguousarray(vectors[:, ::-1][:, :DIMENSIONS])


def nearest(
    queries: np.ndarray, targets: np.ndarray, order: np.ndarray
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """The nearest target of each block, for some queries at a time.

    Yields the row of the first query, and for each the neighbours' rows, int64 [q, b], the nearest first, and their
    squared distances, float32 [q, b].

    queries, targets: float32 [n, d], row i of both from the same image, which is not its own neighbour
    order: int64 [n], of the targets in the blocks: a random one
    """
    count = len(targets)
    length = -(-count // BLOCKS)
    blocks = -(-count // length)
    place = np.empty(count, np.int64)
    place[order] = np.arange(count)
    padded = np.zeros((blocks * length, targets.shape[1] + 1), np.float32)
    padded[:count, :-1] = targets[order]
    padded[:count, -1] = -0.5 * (targets[order] ** 2).sum(axis=1)  # so that a product is largest for the nearest
    padded[count:, -1] = -1e9
    for start in range(0, count, QUERIES):
        some = queries[start : start + QUERIES]
        near = np.concatenate([some, np.ones((len(some), 1), np.float32)], axis=1) @ padded.T
        near[np.arange(len(some)), place[start : start + QUERIES]] = -1e9
        near = near.reshape(len(some), blocks, length)
        best = near.argmax(axis=2)
        value = np.take_along_axis(near, best[:, :, None], axis=2)[:, :, 0]
        first = np.argsort(-value, axis=1)
        found = np.take_along_axis(best + np.arange(blocks) * length, first, axis=1)
        squared = (some**2).sum(axis=1, keepdims=True) - 2 * np.take_along_axis(value, first, axis=1)
        yield start, order[np.minimum(found, count - 1)], np.maximum(squared, 0)
