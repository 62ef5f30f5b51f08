"""Images taken one after the other: bursts by EXIF, and sequences of frames by file names.

EXIF: the same camera, within ``BURST`` seconds of each other. Where a camera has taken more than ``PER_SECOND`` images
in a second, its clock may not have been set: only near-duplicates among them are a burst.

File names: neighbours among the numbered names of a class that are near-duplicates. Numbers alone say nothing, so
neighbours count only where they are alike more often than other pairs of their class, by more than chance. In MNIST
they are: one writer's digits follow each other, and on an empty background they look alike. So where the background is
empty, or where any two images of a class often look alike, most neighbours have to be near-duplicates.
"""

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np

from underhood.data import cache
from underhood.data.split import Links

BURST = 3.0  # seconds between two images of a burst, at most
PER_SECOND = 10  # images of a camera
CONTROLS = 300  # images of a class whose pairs say how alike its images usually are
LEVELS = (0.3, 0.1, 0.03, 0.01, 0.003, 0.001)  # of the pairs of a class: these many of them, the most similar ones
CHANCE = 1e-4  # that so many neighbours are among them: a larger one is no evidence
ALIKE, UNLIKE = 0.95, 0.5  # correlation of small images that are near-duplicates, and of those that surely are none
MOST_ALIGNED = 1000  # pairs between the two that are aligned, which takes 3 ms each
SAMPLE = 60  # pairs that say how often neighbours, and other pairs, are near-duplicates
EMPTY = 0.3  # of the pixels, that have the same value: drawings and digits have more, photographs less
OFTEN = 0.03  # of any pairs of a class, that are near-duplicates: in photographs there are hardly any
WITH_EXIF = (".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".tif", ".tiff")  # formats of cameras
MAKE, MODEL, EXIF, TAKEN, FRACTION, SERIAL = 0x010F, 0x0110, 0x8769, 0x9003, 0x9291, 0xA431  # EXIF tags
WORTH_KEEPING = 2000  # files that may have EXIF: fewer are read in a quarter of a second
HEAD = 4096  # bytes of a JPEG, at whose beginning EXIF is


def find_bursts(paths: Sequence[str], pixels: np.ndarray, keep: bool = False) -> Links:
    """Links between the images of a burst. pixels: uint8 [n, c, h, w]; keep: cache when the images were taken"""
    taken = read_all_taken(paths, keep)
    order = sorted(taken, key=lambda i: (*taken[i], paths[i]))
    pairs = [
        (i, j) for i, j in pairwise(order) if taken[i][0] == taken[j][0] and taken[j][1] - taken[i][1] <= BURST
    ]  # fmt: skip
    if not pairs:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    in_second = Counter((camera, int(time)) for camera, time in taken.values())
    crowded = np.array([in_second[taken[i][0], int(taken[i][1])] > PER_SECOND for i, _ in pairs])
    first, second = np.array(pairs, np.int64).T
    linked = ~crowded
    if crowded.any():
        linked[crowded] = near_duplicates(shrink(pixels), pixels, first[crowded], second[crowded])
    return first[linked], second[linked]


def read_all_taken(paths: Sequence[str], keep: bool) -> dict[int, tuple[str, float]]:
    """Row of an image → camera and time, where its EXIF says so.

    keep: keep those of many files beside the decoded pixels; unchanged files are then not opened again
    """
    place = None
    if keep and sum(path.lower().endswith(WITH_EXIF) for path in paths) >= WORTH_KEEPING:
        stamped = "\0".join(paths) + repr(cache.file_stamps(paths))
        name = hashlib.sha256(stamped.encode("utf-8", "surrogateescape")).hexdigest()[:32]
        of = hashlib.sha256(paths[0].rpartition("/")[0].encode("utf-8", "surrogateescape")).hexdigest()[:16]
        place = cache.cache_folder() / f"taken-{of}-{name}.json"
        with suppress(OSError, ValueError, TypeError):  # whatever is wrong with it: they are read again
            if cache.refusal(place) is None:
                return {int(row): (str(camera), float(time)) for row, camera, time in json.loads(place.read_text())}
    taken = {row: when for row, path in enumerate(paths) if (when := read_taken(path)) is not None}
    if place is not None and cache.refusal(place) is None:
        with suppress(OSError):
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            for earlier in place.parent.glob(f"{place.name[:23]}*"):
                earlier.unlink()
            written = place.with_suffix(f".{os.getpid()}")
            written.write_text(json.dumps([[row, *when] for row, when in taken.items()]))
            written.replace(place)
    return taken


def read_taken(path: str) -> tuple[str, float] | None:
    """(camera, time in seconds) of an image file according to its EXIF; None where that names no time."""
    if not path.lower().endswith(WITH_EXIF):
        return None
    from PIL import Image

    try:
        with open(path, "rb") as file:  # noqa: PTH123 (a Path for each costs seconds)
            head = file.read(HEAD)
            if head.startswith(b"\xff\xd8") and b"Exif\0" not in head:  # a JPEG without EXIF: Pillow need not open it
                return None
            file.seek(0)
            with Image.open(file) as image:
                tags = image.getexif()
        details = tags.get_ifd(EXIF)
        when = str(details[TAKEN]).strip("\0 ")
        fraction = str(details.get(FRACTION, "")).strip("\0 ")
        time = datetime.strptime(when, "%Y:%m:%d %H:%M:%S").replace(tzinfo=UTC).timestamp()
        time += float(f"0.{fraction}") if fraction.isdecimal() else 0.0
        return " ".join(str(one) for one in (tags.get(MAKE), tags.get(MODEL), details.get(SERIAL)) if one), time
    except Exception:  # whatever is wrong with it: the image itself can be read
        return None


def find_sequences(names: Sequence[str], labels: np.ndarray, pixels: np.ndarray) -> Links:
    """Links between neighbours in a sequence of file names that are near-duplicates.

    names: below the class folder; labels: int64 [n]; pixels: uint8 [n, c, h, w]
    """
    first, second = _pairs(names, labels, 1)
    if not len(first):
        return first, second
    plain = _has_empty_background(pixels)
    if plain and not _mostly_alike(labels, pixels, first, second):
        return first[:0], second[:0]
    small = shrink(pixels)
    likeness = _correlation(small, first, second)
    chance = np.ones(len(first))  # that another pair of the class is as similar
    usual = np.ones(len(labels))  # of the most similar hundredth of a class's pairs, for each image
    for label in np.unique(labels[first]):
        members = np.flatnonzero(labels == label)
        here = labels[first] == label
        controls = _controls(small[members], int(label))
        chance[here] = (1 + len(controls) - np.searchsorted(controls, likeness[here])) / (1 + len(controls))
        usual[members] = np.quantile(controls, 0.99) if len(controls) else 1.0
    if not is_evidence(chance) or not (plain or _mostly_alike(labels, pixels, first, second, OFTEN)):
        return first[:0], second[:0]
    ends = zip((first, second), _pairs(names, labels, 2), strict=True)  # the next but one: a blurred frame divides none
    first, second = (np.concatenate(end) for end in ends)
    linked = near_duplicates(small, pixels, first, second, usual[first])
    return first[linked], second[linked]


def _has_empty_background(pixels: np.ndarray) -> bool:
    """Whether in most of the images, uint8 [n, c, h, w], many pixels have the same value. Looks at 200 of them."""
    some = pixels[:: max(1, len(pixels) // 200)][:, 0]
    return float(np.median([np.bincount(image.ravel()).max() / image.size for image in some])) > EMPTY


def _mostly_alike(
    labels: np.ndarray, pixels: np.ndarray, first: np.ndarray, second: np.ndarray, rarely: float = -1.0
) -> bool:
    """Whether most neighbours are near-duplicates, and more often than other pairs of their class; in a sample.

    rarely: how many of the other pairs may be near-duplicates without a look at the neighbours
    """
    from underhood.data.near_duplicates import SAME, similarity

    generator = np.random.default_rng(0)
    some = generator.permutation(len(first))[:SAMPLE]
    others = np.array([generator.choice(np.flatnonzero(labels == label)) for label in labels[first[some]]])
    different = others != first[some]

    def alike(one: np.ndarray, other: np.ndarray) -> float:
        return float((similarity(pixels[one], pixels[other]) >= SAME).mean()) if len(one) else 0.0

    if rarely < 0 and alike(first[some], second[some]) < 0.5:
        return False
    usual = alike(first[some][different], others[different])
    return usual <= rarely or alike(first[some], second[some]) >= 0.5 + 0.5 * usual


def is_evidence(chance: np.ndarray) -> bool:
    """Whether neighbours are alike more often than by chance.

    chance: for each pair of neighbours, how often another pair of its class is as similar, float [n]
    """
    from scipy.special import bdtrc  # the upper tail of a binomial distribution

    for level in LEVELS:
        expected, found = len(chance) * level, int((chance <= level).sum())
        if found >= 2 * expected and bdtrc(found - 1, len(chance), level) < CHANCE / len(LEVELS):
            return True
    return False


def near_duplicates(
    small: np.ndarray, pixels: np.ndarray, first: np.ndarray, second: np.ndarray, usual: np.ndarray | float = 0.0
) -> np.ndarray:
    """Which of these pairs are near-duplicates: bool [m]. Only pairs where it is not plain are aligned.

    small: of ``shrink``; pixels: uint8 [n, c, h, w]; first, second: int64 [m]
    usual: a correlation that is no evidence of its own, float [m]
    """
    from underhood.data.near_duplicates import SAME, similarity

    likeness = _correlation(small, first, second)
    linked = likeness >= np.maximum(ALIKE, usual)
    between = np.flatnonzero((likeness >= UNLIKE) & ~linked)
    between = between[np.argsort(-likeness[between], kind="stable")[:MOST_ALIGNED]]
    for start in range(0, len(between), 256):
        some = between[start : start + 256]
        linked[some] = similarity(pixels[first[some]], pixels[second[some]]) >= SAME
    return linked


def shrink(pixels: np.ndarray) -> np.ndarray:
    """Small grey images of mean 0 and norm 1, float32 [n, values]; zeros for blank ones. pixels: uint8 [n, c, h, w]"""
    side = min(16, *pixels.shape[2:])
    small = _block_means(pixels, side) if not np.any(np.mod(pixels.shape[2:], side)) else _area_means(pixels, side)
    flat = small.reshape(len(pixels), -1)
    flat -= flat.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(flat, axis=1, keepdims=True)
    return np.where(norm > 1, flat / np.maximum(norm, 1), 0).astype(np.float32)


def _block_means(pixels: np.ndarray, side: int) -> np.ndarray:
    """Grey images, float32 [n, side, side], of uint8 [n, c, h, w] whose height and width are multiples of ``side``."""
    channels, height, width = pixels.shape[1:]
    down, right = height // side, width // side
    blocks = np.zeros((len(pixels), side, side), np.int32)  # sums: faster than the mean of one large array
    for channel in range(channels):
        for y in range(down):
            for x in range(right):
                blocks += pixels[:, channel, y::down, x::right]
    return blocks.astype(np.float32) / (channels * down * right)


def _area_means(pixels: np.ndarray, side: int) -> np.ndarray:
    """Grey images, float32 [n, side, side], of uint8 [n, c, h, w] of any size, by the areas that pixels share."""
    from underhood.data.alignment import _area

    rows, columns = (_area(length, length, side) for length in pixels.shape[2:])
    small = np.empty((len(pixels), side, side), np.float32)
    for start in range(0, len(pixels), 512):
        some = slice(start, start + 512)
        small[some] = rows @ pixels[some].mean(axis=1, dtype=np.float32) @ columns.T
    return small


def _correlation(small: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The correlation of the small images of each pair, float [m]."""
    blocks = (slice(start, start + 8192) for start in range(0, max(1, len(first)), 8192))
    return np.concatenate([np.einsum("np,np->n", small[first[rows]], small[second[rows]]) for rows in blocks])


def _controls(small: np.ndarray, seed: int) -> np.ndarray:
    """The correlations of all pairs in a sample of a class's small images [n, values], in ascending order: float."""
    if len(small) > CONTROLS:
        small = small[np.random.default_rng(seed).choice(len(small), CONTROLS, replace=False)]
    return np.sort((small @ small.T)[np.triu_indices(len(small), 1)])


def _pairs(names: Sequence[str], labels: np.ndarray, step: int) -> Links:
    """Images ``step`` places apart in a sequence: file names of a folder and class that differ in their last number."""
    sequences: dict[tuple[str, str, int], list[tuple[int, int]]] = {}
    for row, (name, label) in enumerate(zip(names, labels.tolist(), strict=True)):
        stem = name[: name.rfind(".")] if "." in name[name.rfind("/") + 1 :] else name
        match = re.search(r"([0-9]{1,18})([^0-9/]*)$", stem)
        if match:
            sequences.setdefault((stem[: match.start()], match[2], label), []).append((int(match[1]), row))
    pairs: list[tuple[int, int]] = []
    for members in sequences.values():
        rows = [row for _, row in sorted(members)]
        pairs += zip(rows, rows[step:], strict=False)
    first, second = np.array(pairs, np.int64).reshape(-1, 2).T
    return first, second
