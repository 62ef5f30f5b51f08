"""Decoded pixels, kept in the user's cache folder as one memory-mapped file per data set.

The name of an entry holds two hashes: one of the data's path and the requested preparation, one of the path, size and
modification time of every image. The second changes when images change, and the new entry then replaces the old one.
Data that decodes in half a second is not kept: writing it would take a third of that time again.

An entry holds the hash of every image. At each use a random sample is compared with it, with ``verify`` all images.
Entries that other users may have written are not used.
"""

import hashlib
import json
import math
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import PIL

from underhood.core.images import Images, blocks
from underhood.data.decode import FILE_COST, Decoded, Progress, decode_files
from underhood.data.files import user_cache
from underhood.data.split import hash_images
from underhood.preparation import Preparation

WORTH_KEEPING = 200_000_000  # bytes of files, plus FILE_COST each: less decodes in half a second and is not kept
IN_MEMORY = 2**29  # bytes: smaller entries are read into memory, larger ones are memory-mapped
WRITING = "being-written-"  # prefix of the name of an incomplete entry
A_DAY = 86_400  # seconds: where there are no locks, an incomplete entry that is older was left by a killed process
SAMPLE = 1_000  # images that are verified at each use: of 1 % damaged ones, one is found with a probability of 99.996 %
FORMAT = 2  # version of the entries; increase it when preparation changes pixels


def cache_folder() -> Path:
    """The folder of the entries, below the user's cache folder (set XDG_CACHE_HOME to move it)."""
    return user_cache() / "decoded"


def decode_cached(
    root: str,
    paths: Sequence[str],
    *,
    of: tuple[Any, ...] = (),
    size: int | None = None,
    channels: int | None = None,
    fit: str = "pad",
    preparation: Preparation | None = None,
    progress: Progress | None = None,
    verify: bool = False,
) -> Decoded:
    """Decode image files with ``decode_files``, or load the pixels of an earlier call. A note names the cache entry.

    root: the folder of the images
    of: identifies the request, such as a folder and a limit; an entry replaces older ones of the same request
    verify: compare every image of the entry with its hash, and not only a sample
    size, channels, fit, preparation, progress: see ``decode_files``
    """
    decode = partial(decode_files, paths, size=size, channels=channels, fit=fit, preparation=preparation)
    stamps = file_stamps(paths)
    if sum(stamp[0] + FILE_COST for stamp in stamps) <= WORTH_KEEPING:
        return decode(progress=progress)
    names = [path.removeprefix(root) for path in paths]
    place = _entry(names, stamps, (*of, size, channels, fit, preparation))
    warnings: list[str] = []
    load = partial(_load, paths=paths, fit=preparation.fit if preparation else fit, verify=verify, warnings=warnings)
    if why := refusal(place):
        return replace(decode(progress=progress), warnings=[f"{why}: pixels stay in memory"])
    decoded = load(place) or _same_preparation(place, load, preparation)
    if decoded is None:
        try:
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with new_folder(place.parent, WRITING) as folder:
                _store(folder, decode(progress=progress, allocate=_Files(folder)))
                _replace(folder, place)
                decoded = load(place)
        except OSError as error:
            why = f"the cache {place.parent} cannot be written ({error.strerror or error}): pixels stay in memory"
            return replace(decode(progress=progress), notes=[why], warnings=warnings)
    if decoded is None:  # another process has removed it
        return replace(decode(progress=progress), warnings=warnings)
    kept = f"decoded pixels are kept in {place} ({decoded.pixels.nbytes / 1e6:,.0f} MB)"
    return replace(decoded, notes=[kept], warnings=warnings)


def refusal(path: Path) -> str | None:
    """Why an entry or a file of the cache is not used: others may have written it. None if it is safe or not there."""
    if not hasattr(os, "geteuid"):
        return None
    for place in (path.parent, path, *path.glob("*")):
        try:
            status = place.stat()
        except OSError:
            continue
        if status.st_uid not in (os.geteuid(), 0):
            return f"{place} belongs to another user and is not used (set XDG_CACHE_HOME to a folder of your own)"
        if status.st_mode & 0o022:
            return f"{place} may be written by other users and is not used (chmod -R go-w {path.parent})"
        if stat.S_ISDIR(status.st_mode) and not status.st_mode & 0o011:  # no other user can reach what is in it
            break
    return None


def clear_cache() -> int:
    """Remove all entries, and what backbones keep: features and weights. Returns their size in bytes."""
    size = 0
    for folder in (cache_folder(), user_cache() / "features", user_cache() / "weights"):
        size += sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        shutil.rmtree(folder, ignore_errors=not folder.exists())
    return size


def take_images(images: Images, rows: np.ndarray) -> Images:
    """``images.take(rows)`` without a copy in memory where the pixels are memory-mapped.

    Such pixels, uint8 [n, c, h, w], are copied into another memory-mapped file. It is in the same folder if that can be
    written, has no name, and disappears with the process. rows: indices int64 [m], or a mask bool [n]
    """
    if not isinstance(images.pixels, np.memmap):
        return images.take(rows)
    rows = np.flatnonzero(rows) if rows.dtype == bool else rows
    names = [images.names[i] for i in rows.tolist()]
    hashes = None if images.precomputed_hashes is None else images.precomputed_hashes[rows]
    return Images(_take_mapped(images.pixels, rows), images.labels[rows], images.classes, names, hashes)


def _take_mapped(pixels: np.memmap, rows: np.ndarray) -> np.ndarray:
    """``pixels[rows]`` of memory-mapped pixels [n, c, h, w], in a file without a name."""
    place = Path(pixels.filename).parent if pixels.filename else None
    shape = (max(1, len(rows)), *pixels.shape[1:])
    with tempfile.TemporaryFile(dir=place if place and os.access(place, os.W_OK) else None) as file:
        if hasattr(os, "posix_fallocate"):  # a full disk raises an error here instead of a signal on a later write
            os.posix_fallocate(file.fileno(), 0, math.prod(shape))
        taken = np.memmap(file, np.uint8, "w+", shape=shape)
    for block in blocks(pixels, len(rows)):
        taken[block] = pixels[rows[block]]
    return taken[: len(rows)]


def file_stamps(paths: Sequence[str]) -> list[tuple[int, int, int]]:
    """Size in bytes, modification time and change time in ns of each file; zeros for a file that is missing.

    The change time shows that the permissions of a file have changed.
    """
    stamps = []
    for path in paths:
        try:
            status = os.stat(path)  # noqa: PTH116 (a Path for each costs seconds)
            stamps.append((status.st_size, status.st_mtime_ns, status.st_ctime_ns))
        except OSError:
            stamps.append((0, 0, 0))
    return stamps


def _entry(names: Sequence[str], stamps: Sequence[tuple[int, ...]], asked: tuple[Any, ...]) -> Path:
    what = repr(asked)
    of = "\0".join(names) + repr((FORMAT, PIL.__version__, stamps))
    first = hashlib.sha256(what.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    second = hashlib.sha256(of.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return cache_folder() / f"{first}-{second}"


class _Files:
    """Allocates arrays in files, one for each number of channels: a coloured image may follow grey ones."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __call__(self, shape: tuple[int, ...]) -> np.ndarray:
        path = self.folder / f"pixels-{shape[1]}.npy"
        array = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
        if hasattr(os, "posix_fallocate"):  # a full disk raises an error here instead of a signal on a later write
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        return array


def _store(folder: Path, decoded: Decoded) -> None:
    """Write the other files of an entry (the pixels are in theirs already). Remove grey pixels that became coloured."""
    base = decoded.pixels.base if isinstance(decoded.pixels.base, np.memmap) else decoded.pixels
    if isinstance(base, np.memmap):
        base.flush()
    channels = decoded.preparation.channels
    for other in folder.glob("pixels-*.npy"):
        if other.name != f"pixels-{channels}.npy":
            other.unlink()
    (folder / "record.json").write_text(json.dumps({"preparation": asdict(decoded.preparation)}))
    sizes = np.zeros((len(decoded.readable), 2), np.int64)
    sizes[decoded.readable] = decoded.sizes
    np.save(folder / "sizes.npy", sizes)
    np.save(folder / "hashes.npy", decoded.hashes)


@contextmanager
def new_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """A new folder to fill, locked as long as its writer lives. Removed at the end, unless it is renamed.

    Those with this prefix that killed processes left are removed first. Both happen under one lock, or a new folder
    might look abandoned. Raises OSError.
    """
    with ExitStack() as stack:
        with _locked(parent):
            for left in [path for path in parent.iterdir() if path.name.startswith(prefix)]:
                with suppress(OSError), _locked(left, wait=False) as abandoned:
                    if abandoned or left.stat().st_mtime < time.time() - A_DAY:
                        shutil.rmtree(left, ignore_errors=True)
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=parent, prefix=prefix)))
            stack.enter_context(_locked(folder))
        yield folder


@contextmanager
def _locked(folder: Path, wait: bool = True) -> Iterator[bool]:
    """Hold the lock of a folder, which ends with the process. False if another process has it or there are no locks."""
    number = -1
    try:
        import fcntl

        number = os.open(folder, os.O_RDONLY)
        fcntl.flock(number, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        locked = True
    except (ImportError, OSError):
        locked = False
    try:
        yield locked
    finally:
        if number >= 0:
            os.close(number)


def _replace(folder: Path, place: Path) -> None:
    """Give a complete entry its name. Remove older entries of the same request."""
    for earlier in place.parent.glob(f"{place.name.split('-')[0]}-*"):
        shutil.rmtree(earlier, ignore_errors=True)
    with suppress(OSError):  # another process was faster
        folder.rename(place)


def _same_preparation(
    place: Path, load: Callable[[Path], Decoded | None], preparation: Preparation | None
) -> Decoded | None:
    """An entry of the same images at this preparation: ``evaluate`` requests the preparation that ``train`` chose."""
    for other in place.parent.glob(f"*-{place.name.split('-')[1]}") if preparation else ():
        decoded = load(other)
        if decoded is not None and decoded.preparation == preparation:
            return decoded
    return None


def _load(place: Path, paths: Sequence[str], fit: str, verify: bool, warnings: list[str]) -> Decoded | None:
    """An entry. None if there is none, if it is damaged, or if images that were unreadable can be read now.

    warnings: gets a line if its pixels are not those that were decoded. Such an entry is removed.
    """
    if refusal(place) or not all(file.is_file() for file in place.glob("*")):  # a pipe would never end
        return None
    try:
        record = json.loads((place / "record.json").read_text())
        preparation = Preparation(**record["preparation"])
        path = place / f"pixels-{preparation.channels}.npy"
        pixels = np.load(path, mmap_mode="r" if path.stat().st_size > IN_MEMORY else None)
        sizes, hashes = np.load(place / "sizes.npy"), np.load(place / "hashes.npy")
        if pixels.shape != (len(sizes), preparation.channels, preparation.height, preparation.width):
            return None
        readable = sizes[:, 0] > 0
        if len(hashes) != readable.sum() or pixels.dtype != np.uint8 or preparation.fit != fit:
            return None
        pixels = pixels[: len(hashes)]
        changed, checked = _count_changed(pixels, hashes, len(hashes) if verify else SAMPLE)
    except Exception:  # whatever is wrong with it: it is decoded again
        return None
    if changed:
        warnings.append(f"{place} was damaged ({changed:,} of {checked:,} checked images): decoded again")
        shutil.rmtree(place, ignore_errors=True)
        return None
    bad = decode_files([paths[i] for i in np.flatnonzero(~readable).tolist()], preparation=preparation)
    if bad.readable.any():
        return None
    return Decoded(pixels, hashes, readable, sizes[readable], bad.unreadable, preparation)


def _count_changed(pixels: np.ndarray, hashes: np.ndarray, count: int) -> tuple[int, int]:
    """(how many of ``count`` random images [n, c, h, w] do not have their hash [n], of how many)."""
    rows = np.arange(len(pixels))
    if count < len(rows):  # drawn anew each time: which images are checked cannot be known before
        rows = np.sort(np.random.default_rng().choice(rows, count, replace=False))
    return sum(int((hash_images(pixels[rows[b]]) != hashes[rows[b]]).sum()) for b in blocks(pixels, len(rows))), len(
        rows
    )
