"""Decoded pixels, kept in the user's cache folder as one memory-mapped file per data set.

The name of an entry holds two hashes: one of the data's path and the requested preparation, one of the path, size and
modification time of every image. The second changes when images change, and the new entry then replaces the old one.
Data that decodes in half a second is not kept: writing it would take a third of that time again.
"""

import hashlib
import json
import math
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import PIL

from underhood.core.images import Images, blocks
from underhood.data.decode import FILE_COST, Decoded, Progress, decode_files
from underhood.preparation import Preparation

WORTH_KEEPING = 200_000_000  # bytes of files, plus FILE_COST each: less decodes in half a second and is not kept
IN_MEMORY = 2**29  # bytes: smaller entries are read into memory, larger ones are memory-mapped
WRITING = "being-written-"  # prefix of the name of an incomplete entry
A_DAY = 86_400  # seconds: an incomplete entry that is older was left by a process that was killed
FORMAT = 2  # version of the entries; increase it when preparation changes pixels


def cache_folder() -> Path:
    """The folder of the entries, below the user's cache folder (set XDG_CACHE_HOME to move it)."""
    import pooch

    return Path(pooch.os_cache("underhood")) / "decoded"


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
) -> Decoded:
    """Decode image files with ``decode_files``, or load the pixels of an earlier call. A note names the cache entry.

    root: the folder of the images
    of: identifies the request, such as a folder and a limit; an entry replaces older ones of the same request
    size, channels, fit, preparation, progress: see ``decode_files``
    """
    decode = partial(decode_files, paths, size=size, channels=channels, fit=fit, preparation=preparation)
    stamps = _stamps(paths)
    if sum(stamp[0] + FILE_COST for stamp in stamps) <= WORTH_KEEPING:
        return decode(progress=progress)
    names = [path.removeprefix(root) for path in paths]
    place = _entry(names, stamps, (*of, size, channels, fit, preparation))
    decoded = _load(place, paths) or _same_preparation(place, paths, preparation)
    if decoded is None:
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=place.parent, prefix=WRITING) as folder:
                _store(Path(folder), decode(progress=progress, allocate=_Files(Path(folder))))
                _replace(Path(folder), place)
                decoded = _load(place, paths)
        except OSError as error:
            why = f"the cache {place.parent} cannot be written ({error.strerror or error}): pixels stay in memory"
            return replace(decode(progress=progress), notes=[why])
    if decoded is None:  # another process has removed it
        return decode(progress=progress)
    return replace(decoded, notes=[f"decoded pixels are kept in {place} ({decoded.pixels.nbytes / 1e6:,.0f} MB)"])


def clear_cache() -> int:
    """Remove all entries. Returns their size in bytes."""
    folder = cache_folder()
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
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


def _stamps(paths: Sequence[str]) -> list[tuple[int, int, int]]:
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


def _replace(folder: Path, place: Path) -> None:
    """Give a complete entry its name. Remove older entries of the same request and those of killed processes."""
    left = [path for path in place.parent.glob(f"{WRITING}*") if path.stat().st_mtime < time.time() - A_DAY]
    for earlier in [*place.parent.glob(f"{place.name.split('-')[0]}-*"), *left]:
        shutil.rmtree(earlier, ignore_errors=True)
    with suppress(OSError):  # another process was faster
        folder.rename(place)


def _same_preparation(place: Path, paths: Sequence[str], preparation: Preparation | None) -> Decoded | None:
    """An entry of the same images at this preparation: ``evaluate`` requests the preparation that ``train`` chose."""
    for other in place.parent.glob(f"*-{place.name.split('-')[1]}") if preparation else ():
        decoded = _load(other, paths)
        if decoded is not None and decoded.preparation == preparation:
            return decoded
    return None


def _load(place: Path, paths: Sequence[str]) -> Decoded | None:
    """An entry. None if there is none, if it is damaged, or if images that were unreadable can be read now."""
    try:
        record = json.loads((place / "record.json").read_text())
        preparation = Preparation(**record["preparation"])
        path = place / f"pixels-{preparation.channels}.npy"
        pixels = np.load(path, mmap_mode="r" if path.stat().st_size > IN_MEMORY else None)
        sizes, hashes = np.load(place / "sizes.npy"), np.load(place / "hashes.npy")
        if pixels.shape != (len(sizes), preparation.channels, preparation.height, preparation.width):
            return None
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return None
    readable = sizes[:, 0] > 0
    if len(hashes) != readable.sum():
        return None
    bad = decode_files([paths[i] for i in np.flatnonzero(~readable).tolist()], preparation=preparation)
    if bad.readable.any():
        return None
    return Decoded(pixels[: len(hashes)], hashes, readable, sizes[readable], bad.unreadable, preparation)
