"""Many picture files at once, on all cores.

Threads do not help with small PNGs (Python's own work between the decoder's calls holds them up: a plain loop is
faster); processes do. On Linux they are forked: a child only opens files and fills arrays. Elsewhere they start anew.
"""

import gc
import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from PIL import Image

from underhood.core.errors import DataError
from underhood.core.images import hash_pictures
from underhood.preparation.prepare import (
    BadPicture,
    Preparation,
    fit_image,
    header_size,
    images_to_pixels,
    is_coloured,
    open_picture,
)

DIGIT = 28  # pixels: the side of a digit, where nobody says
LARGEST_COMMON = 64  # pixels: a size that all pictures share is kept up to here; anything else becomes 64 × 64
CHUNK = 256  # pictures a process takes at a time, at most
CHUNK_PIXELS = 2**22  # and no more than so many pixels, of large pictures
TURNS = 8  # chunks that each process gets of a small folder, so that all are busy to the end
WORTH_PROCESSES = 2_000_000  # bytes: below this, starting processes costs more than it saves
SMALL_FILE = 8_000  # bytes: what opening a file costs, in bytes decoded
SAMPLE = 32  # pictures opened to guess the common size

Progress = Callable[[int, int], None]  # (done, total)
Allocate = Callable[[tuple[int, ...]], np.ndarray]  # shape → zeros, uint8


@dataclass
class Decoded:
    """pixels: uint8 [n, c, h, w] of the pictures that could be read; hashes: of them, uint64 [n]; readable: bool, one
    for each path; sizes: int [n, 2], width and height as stored; unreadable: path to reason; notes: what to tell."""

    pixels: np.ndarray
    hashes: np.ndarray
    readable: np.ndarray
    sizes: np.ndarray
    unreadable: dict[str, str]
    preparation: Preparation
    notes: list[str] = field(default_factory=list)


@dataclass
class _Chunk:
    pixels: np.ndarray  # [k, c, h, w]; rows of unreadable pictures are zero
    hashes: np.ndarray  # [k]
    sizes: np.ndarray  # [k, 2] width, height; 0, 0 where unreadable
    unreadable: list[tuple[int, str]]


class _OtherSize(Exception):
    """A picture is not of the size that all were thought to share."""


def decode_files(
    paths: Sequence[str],
    *,
    size: int | None = None,
    channels: int | None = None,
    fit: str = "pad",
    preparation: Preparation | None = None,
    progress: Progress | None = None,
    allocate: Allocate | None = None,
) -> Decoded:
    """Decode picture files on all cores.

    With ``preparation``, each becomes what it says. Otherwise it is chosen: ``size`` × ``size`` pixels, or the common
    size if all pictures agree and it is at most 64, else 64; ``channels``, or grey unless any picture is coloured.
    allocate: makes the array of zeros that pixels are written to, from its shape: in a file, for instance
    """
    allocate = allocate or partial(np.zeros, dtype=np.uint8)
    if fit == "digit":
        size, channels = size or DIGIT, 1
    if preparation is not None:
        shape, channels, fit = (preparation.height, preparation.width), preparation.channels, preparation.fit
        return _decode_as(paths, shape, channels, fit, False, progress, allocate)
    if size is not None:
        return _decode_as(paths, (size, size), channels, fit, False, progress, allocate)
    common = _common_size(paths)
    if common is not None:
        try:
            return _decode_as(paths, common, channels, fit, True, progress, allocate)
        except _OtherSize:  # rare: the sampled headers agreed, a later picture did not
            pass
    return _decode_as(paths, (LARGEST_COMMON, LARGEST_COMMON), channels, fit, False, progress, allocate)


def _common_size(paths: Sequence[str]) -> tuple[int, int] | None:
    """(height, width) if a sample of the pictures agrees on one of at most 64 × 64, else None."""
    common = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks are not wanted here, and bombs are refused when decoded
        for path in paths[:: max(1, len(paths) // SAMPLE)]:
            size = header_size(path)
            if size is None:
                continue
            if max(size) > LARGEST_COMMON or (common is not None and size != common):
                return None
            common = size
    return common and common[::-1]


def _decode_as(
    paths: Sequence[str],
    shape: tuple[int, int],
    channels: int | None,
    fit: str,
    exact: bool,
    progress: Progress | None,
    allocate: Allocate,
) -> Decoded:
    pixels = allocate((len(paths), channels or 1, *shape))
    hashes = np.zeros(len(paths), np.uint64)
    sizes = np.zeros((len(paths), 2), np.int64)
    unreadable: dict[str, str] = {}
    cores = _cores()
    length = max(1, min(CHUNK, -(-len(paths) // (TURNS * cores)), CHUNK_PIXELS // (shape[0] * shape[1])))
    chunks = [paths[start : start + length] for start in range(0, len(paths), length)]
    work = partial(_decode_chunk, shape=shape, channels=channels, fit=fit, exact=exact)
    done = 0
    with _pool(cores if _worth_processes(paths) else 1) as run:
        for chunk, part in zip(chunks, run(work, chunks), strict=True):
            rows = slice(done, done + len(chunk))
            if part.pixels.shape[1] > pixels.shape[1]:  # the first coloured picture: what was grey so far is repeated
                grey, pixels = pixels, allocate((len(paths), 3, *shape))
                pixels[:done] = grey[:done]
                hashes[:done] = hash_pictures(pixels[:done])
            pixels[rows] = part.pixels
            alike = part.pixels.shape[1] == pixels.shape[1]
            hashes[rows] = part.hashes if alike else hash_pictures(pixels[rows])
            sizes[rows] = part.sizes
            unreadable.update((chunk[i], reason) for i, reason in part.unreadable)
            done += len(chunk)
            if progress:
                progress(done, len(paths))
    readable = sizes[:, 0] > 0
    if unreadable:
        pixels, hashes, sizes = _move_up(pixels, readable), hashes[readable], sizes[readable]
    return Decoded(pixels, hashes, readable, sizes, unreadable, Preparation(pixels.shape[1], *shape, fit))


def _move_up(pixels: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The wanted rows, moved to the front of the same array: it may be too large for two of it."""
    rows = np.flatnonzero(wanted)
    for start in range(0, len(rows), CHUNK):
        block = rows[start : start + CHUNK]
        pixels[start : start + len(block)] = pixels[block]
    return pixels[: len(rows)]


def _decode_chunk(
    paths: Sequence[str], *, shape: tuple[int, int], channels: int | None, fit: str, exact: bool
) -> _Chunk:
    """What one process does: pixels [k, c, h, w], grey unless a picture of the chunk is coloured or 3 are asked for."""
    height, width = shape
    prepared: list[Image.Image] = []
    readable: list[int] = []
    sizes = np.zeros((len(paths), 2), np.int64)
    unreadable: list[tuple[int, str]] = []
    preparation = Preparation(channels or 3, height, width, fit)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on odd files would come once for each process
        for i, path in enumerate(paths):
            try:
                image, size = open_picture(path, at_least=preparation.at_least)
            except BadPicture as bad:
                unreadable.append((i, str(bad)))
                continue
            if exact and image.size != (width, height):
                raise _OtherSize
            readable.append(i)
            sizes[i] = size
            prepared.append(fit_image(image, preparation))
    if channels is None:
        channels = 3 if any(map(is_coloured, prepared)) else 1
    pixels = np.zeros((len(paths), channels, height, width), np.uint8)
    if prepared:
        pixels[readable] = images_to_pixels(prepared, channels)
    return _Chunk(pixels, hash_pictures(pixels), sizes, unreadable)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _worth_processes(paths: Sequence[str]) -> bool:
    """Whether there is much to decode: many files, or large ones."""
    total = 0
    for path in paths:
        with suppress(OSError):
            total += os.stat(path).st_size + SMALL_FILE  # noqa: PTH116 (a Path for each costs seconds)
        if total > WORTH_PROCESSES:
            return True
    return False


@contextmanager
def _pool(cores: int) -> Iterator[Callable[..., Iterator[_Chunk]]]:
    """A ``map`` over so many cores; this process's own for one."""
    if cores == 1:
        yield map
        return
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    pool = ProcessPoolExecutor(cores, mp_context=context, initializer=_start_child)
    try:
        with warnings.catch_warnings():
            # Python warns of forking beside threads (NumPy's BLAS has some): a child here only opens files
            warnings.filterwarnings("ignore", category=DeprecationWarning, message=".*fork.*")
            yield pool.map
    except BrokenProcessPool:
        raise DataError(
            "a decoding process was ended from outside, perhaps for want of memory: try --size 32"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_child() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    gc.freeze()  # or the collector would touch, and so copy, every page shared with the parent: half as fast again
