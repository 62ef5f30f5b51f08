"""Decode many image files at once, on all cores.

Threads would not help with small PNGs: the Python code between the calls of the decoder makes them slower than a plain
loop. Hence processes. On Linux they are forked, as a child only opens files and fills arrays; elsewhere they are
spawned.
"""

import gc
import math
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from underhood.core.errors import DataError
from underhood.data.split import hash_images
from underhood.preparation import Preparation, fit_image, get_fit, to_pixels
from underhood.preparation.files import BadImageError, is_coloured, open_image, read_header_size

MAX_COMMON_SIZE = 64  # pixels: a size that all images share is kept up to here; otherwise images become 64 × 64
CHUNK = 256  # images for a process at a time, at most
CHUNK_PIXELS = 2**22  # and at most this many pixels, if they are large
CHUNKS_PER_PROCESS = 8  # of a small folder, so that all processes are busy until the end
WORTH_PROCESSES = 2_000_000  # bytes: for less, starting processes costs more than it saves
FILE_COST = 8_000  # bytes: opening a file takes as long as decoding this many
PR_SET_PDEATHSIG = 1  # of prctl: the signal that this process gets when its parent dies
SAMPLE = 32  # images whose headers are read to guess the common size

Progress = Callable[[int, int], None]  # (done, total)
Allocate = Callable[[tuple[int, ...]], np.ndarray]  # shape → zeros, uint8


@dataclass
class Decoded:
    """The images that could be read, as pixels."""

    pixels: np.ndarray  # uint8 [n, c, h, w]
    hashes: np.ndarray  # uint64 [n], as ``hash_images`` computes them
    readable: np.ndarray  # bool, one for each path
    sizes: np.ndarray  # int [n, 2], width and height as stored
    unreadable: dict[str, str]  # path → reason
    preparation: Preparation
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Form:
    """The pixels that images are decoded to."""

    height: int
    width: int
    channels: int | None  # None: 1 if all images are grey, else 3
    fit: str
    exact: bool = False  # raise _OtherSizeError for an image of another size


@dataclass
class _Chunk:
    """The images that one process decoded at a time."""

    pixels: np.ndarray  # [k, c, h, w]; unreadable images are all 0
    hashes: np.ndarray  # [k]
    sizes: np.ndarray  # [k, 2] width, height; 0, 0 where unreadable
    unreadable: list[tuple[int, str]]


class _OtherSizeError(Exception):
    """An image does not have the size of the sampled ones."""


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
    """Decode image files on all cores.

    preparation: what each image becomes; otherwise it is chosen as follows
    size: pixels a side; by default the size that all images have, if it is at most 64 × 64, else 64
    channels: 1 or 3; by default 1 if all images are grey, else 3
    allocate: makes the array of zeros for the pixels from its shape, for instance in a file

    Raises UnknownNameError for an unknown fit, DataError if a process is killed.
    """
    allocate = allocate or partial(np.zeros, dtype=np.uint8)
    decode = partial(_decode_as, paths, progress=progress, allocate=allocate)
    if preparation is not None:
        return decode(_Form(preparation.height, preparation.width, preparation.channels, preparation.fit))
    implementation = get_fit(fit)
    channels = implementation.channels or channels
    size = implementation.default_size if size is None else size
    if size is not None:
        return decode(_Form(size, size, channels, fit))
    common = _common_size(paths)
    if common is not None:
        try:
            return decode(_Form(*common, channels, fit, exact=True))
        except _OtherSizeError:  # rare: an image that was not in the sample
            pass
    return decode(_Form(MAX_COMMON_SIZE, MAX_COMMON_SIZE, channels, fit))


def _common_size(paths: Sequence[str]) -> tuple[int, int] | None:
    """Height and width of a sample of the images if they agree and are at most 64 × 64, else None."""
    common = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # decoding reports what is wrong with a file
        for path in paths[:: max(1, len(paths) // SAMPLE)]:
            size = read_header_size(path)
            if size is None:
                continue
            if max(size) > MAX_COMMON_SIZE or (common is not None and size != common):
                return None
            common = size
    return common and common[::-1]


class _Result:
    """Collects the chunks. The array starts grey if no number of channels was asked for."""

    def __init__(self, count: int, form: _Form, allocate: Allocate):
        self.shape, self.allocate = (form.height, form.width), allocate
        self.pixels = allocate((count, form.channels or 1, *self.shape))
        self.hashes = np.zeros(count, np.uint64)
        self.sizes = np.zeros((count, 2), np.int64)
        self.done = 0

    def add(self, chunk: _Chunk) -> None:
        """Append the images of the next chunk. The first coloured one turns the grey ones before it into RGB."""
        if chunk.pixels.shape[1] > self.pixels.shape[1]:
            grey, self.pixels = self.pixels, self.allocate((len(self.hashes), 3, *self.shape))
            self.pixels[: self.done] = grey[: self.done]
            self.hashes[: self.done] = hash_images(self.pixels[: self.done])
        rows = slice(self.done, self.done + len(chunk.sizes))
        self.pixels[rows] = chunk.pixels
        same = chunk.pixels.shape[1] == self.pixels.shape[1]
        self.hashes[rows] = chunk.hashes if same else hash_images(self.pixels[rows])
        self.sizes[rows] = chunk.sizes
        self.done = rows.stop


def _decode_as(paths: Sequence[str], form: _Form, progress: Progress | None, allocate: Allocate) -> Decoded:
    result = _Result(len(paths), form, allocate)
    unreadable: dict[str, str] = {}
    cores = available_cpus()
    per_turn = -(-len(paths) // (CHUNKS_PER_PROCESS * cores))
    length = max(1, min(CHUNK, per_turn, CHUNK_PIXELS // (form.height * form.width)))
    chunks = [paths[start : start + length] for start in range(0, len(paths), length)]
    with _pool(cores if _worth_processes(paths) else 1) as run:
        for chunk, decoded in zip(chunks, run(partial(_decode_chunk, form=form), chunks), strict=True):
            result.add(decoded)
            unreadable.update((chunk[i], reason) for i, reason in decoded.unreadable)
            if progress:
                progress(result.done, len(paths))
    pixels, hashes, sizes = result.pixels, result.hashes, result.sizes
    readable = sizes[:, 0] > 0
    if unreadable:
        pixels, hashes, sizes = _move_up(pixels, readable), hashes[readable], sizes[readable]
    preparation = Preparation(pixels.shape[1], form.height, form.width, form.fit)
    return Decoded(pixels, hashes, readable, sizes, unreadable, preparation)


def _move_up(pixels: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Move the wanted rows to the front of the array. There may be no room for a second array."""
    rows = np.flatnonzero(wanted)
    for start in range(0, len(rows), CHUNK):
        block = rows[start : start + CHUNK]
        pixels[start : start + len(block)] = pixels[block]
    return pixels[: len(rows)]


def _decode_chunk(paths: Sequence[str], form: _Form) -> _Chunk:
    """The work of one process. The pixels [k, c, h, w] are grey unless an image is coloured or 3 are asked for."""
    prepared: list[Image.Image] = []
    readable: list[int] = []
    sizes = np.zeros((len(paths), 2), np.int64)
    unreadable: list[tuple[int, str]] = []
    preparation = Preparation(form.channels or 3, form.height, form.width, form.fit)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's warnings about odd files would be repeated by each process
        for i, path in enumerate(paths):
            try:
                image, size = open_image(path, at_least=preparation.decode_size)
            except BadImageError as bad:
                unreadable.append((i, str(bad)))
                continue
            if form.exact and image.size != (form.width, form.height):
                raise _OtherSizeError
            readable.append(i)
            sizes[i] = size
            prepared.append(fit_image(image, preparation))
    channels = form.channels or (3 if any(map(is_coloured, prepared)) else 1)
    pixels = np.zeros((len(paths), channels, form.height, form.width), np.uint8)
    if prepared:
        pixels[readable] = to_pixels(prepared, channels)
    return _Chunk(pixels, hash_images(pixels), sizes, unreadable)


def available_cpus(cgroups: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")) -> int:
    """The number of CPUs that this process may use at a time: by its affinity, and by the quota of its cgroups."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):  # no cgroups of version 2
        path = membership.read_text().rpartition("0::/")[2].strip().lstrip("/")
        for folder in (cgroups / path, *(cgroups / path).parents):
            if folder.is_relative_to(cgroups) and (folder / "cpu.max").is_file():
                quota, period = (folder / "cpu.max").read_text().split()  # microseconds, or "max" for no quota
                cpus = min(cpus, math.ceil(int(quota) / int(period))) if quota != "max" else cpus
    return cpus


def _worth_processes(paths: Sequence[str]) -> bool:
    """Whether there is enough to decode: many files, or large ones."""
    total = 0
    for path in paths:
        with suppress(OSError):
            total += os.stat(path).st_size + FILE_COST  # noqa: PTH116 (a Path for each costs seconds)
        if total > WORTH_PROCESSES:
            return True
    return False


@contextmanager
def _pool(cores: int) -> Iterator[Callable[..., Iterator[_Chunk]]]:
    """A ``map`` over this many processes. For one it runs in this process."""
    if cores == 1:
        yield map
        return
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    pool = ProcessPoolExecutor(cores, mp_context=context, initializer=_start_child, initargs=(os.getpid(),))
    try:
        with warnings.catch_warnings():
            # Python warns about forking with threads (NumPy's BLAS has some), but a child here only opens files
            warnings.filterwarnings("ignore", category=DeprecationWarning, message=".*fork.*")
            yield pool.map
    except BrokenProcessPool:
        raise DataError("a decoding process was killed, perhaps because memory ran out: try --size 32") from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_child(parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    end_with_parent(parent)
    gc.freeze()  # else the collector touches, and so copies, every page shared with the parent: 1.5 times slower


def end_with_parent(parent: int) -> None:
    """End this process when its parent, of this process id, is gone, however that ended.

    Otherwise a child would wait for work for ever, and keep the parent's standard output open.
    """
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it was gone before
            os._exit(1)
    elif (of_parent := multiprocessing.parent_process()) is not None:
        threading.Thread(target=_exit_after, args=(of_parent.sentinel,), daemon=True).start()


def _exit_after(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)
