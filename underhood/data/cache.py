"""Pixels decoded once: a folder's pictures as one memory-mapped file, found again by what they were made of.

An entry's name holds two hashes: of the data's place and the preparation asked for, and of every picture's path, size
and modification time. When the pictures change the second does; writing the new entry removes the old one. What
decodes in half a second is not kept: writing it would cost a third of that again.
"""

import hashlib
import json
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

from underhood.data.decode import SMALL_FILE, Decoded, Progress, decode_files
from underhood.preparation.prepare import Preparation

WORTH_KEEPING = 200_000_000  # bytes, a file counted as SMALL_FILE more: what decodes in half a second need not be kept
IN_MEMORY = 2**29  # bytes: up to here pixels are read into memory; beyond, the file is mapped and memory stays free
WRITING = "being-written-"  # how the name of an entry begins until it is whole
A_DAY = 86_400  # seconds: nothing is written for so long
FORMAT = 2  # of an entry; counts up when preparation gives other pixels


def cache_folder() -> Path:
    """Where entries are kept: below the user's cache folder, which XDG_CACHE_HOME moves."""
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
    """``decode_files``, or what it gave before, with a note that says where that is kept.

    root: the folder that the pictures lie in; of: which of them are asked for, such as a folder or table and a limit: a
    newer entry of the same takes an older one's place; the rest as ``decode_files`` has it
    """
    decode = partial(decode_files, paths, size=size, channels=channels, fit=fit, preparation=preparation)
    stamps = _stamps(paths)
    if sum(stamp[0] + SMALL_FILE for stamp in stamps) <= WORTH_KEEPING:
        return decode(progress=progress)
    names = [path.removeprefix(root) for path in paths]
    place = _entry(names, stamps, (*of, size, channels, fit, preparation))
    decoded = _load(place, paths) or _prepared_alike(place, paths, preparation)
    if decoded is None:
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=place.parent, prefix=WRITING) as folder:
                _store(Path(folder), decode(progress=progress, allocate=_Files(Path(folder))))
                _replace(Path(folder), place)
                decoded = _load(place, paths)
        except OSError as error:
            why = f"the cache {place.parent} cannot be written ({error.strerror or error}): pixels are in memory alone"
            return replace(decode(progress=progress), notes=[why])
    if decoded is None:  # another process has taken it away again
        return decode(progress=progress)
    return replace(decoded, notes=[f"decoded pixels are kept in {place} ({decoded.pixels.nbytes / 1e6:,.0f} MB)"])


def clear_cache() -> int:
    """Remove all entries. Returns how many bytes they took."""
    folder = cache_folder()
    taken = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    shutil.rmtree(folder, ignore_errors=not folder.exists())
    return taken


def _stamps(paths: Sequence[str]) -> list[tuple[int, int, int]]:
    """(bytes, modification time, change time: in ns) of files; zeros where there is none, which decoding will say.

    The change time tells of a picture that was unreadable for its permissions only.
    """
    stamps, look = [], os.stat
    for path in paths:
        try:
            status = look(path)
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
    """Makes arrays in files: grey pictures may turn out to be coloured, so there may be two."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __call__(self, shape: tuple[int, ...]) -> np.ndarray:
        path = self.folder / f"pixels-{shape[1]}.npy"
        array = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
        if hasattr(os, "posix_fallocate"):  # a full disk is an error here, not a signal on some later write
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        return array


def _store(folder: Path, decoded: Decoded) -> None:
    """Write what belongs to the pixels, which are in their file already, and remove a grey file that was outgrown."""
    base = decoded.pixels.base if isinstance(decoded.pixels.base, np.memmap) else decoded.pixels
    if isinstance(base, np.memmap):
        base.flush()
    channels = decoded.preparation.channels
    for outgrown in folder.glob("pixels-*.npy"):
        if outgrown.name != f"pixels-{channels}.npy":
            outgrown.unlink()
    told = {"preparation": asdict(decoded.preparation)}
    (folder / "record.json").write_text(json.dumps(told))
    sizes = np.zeros((len(decoded.readable), 2), np.int64)
    sizes[decoded.readable] = decoded.sizes
    np.save(folder / "sizes.npy", sizes)
    np.save(folder / "hashes.npy", decoded.hashes)


def _replace(folder: Path, place: Path) -> None:
    """Give a finished entry its name; entries of the same data as it was before go, and what a killed process left."""
    left = [path for path in place.parent.glob(f"{WRITING}*") if path.stat().st_mtime < time.time() - A_DAY]
    for earlier in [*place.parent.glob(f"{place.name.split('-')[0]}-*"), *left]:
        shutil.rmtree(earlier, ignore_errors=True)
    with suppress(OSError):  # another process was as quick
        folder.rename(place)


def _prepared_alike(place: Path, paths: Sequence[str], preparation: Preparation | None) -> Decoded | None:
    """An entry of the same pictures that came to this preparation: ``evaluate`` asks for what ``train`` chose."""
    for other in place.parent.glob(f"*-{place.name.split('-')[1]}") if preparation else ():
        decoded = _load(other, paths)
        if decoded is not None and decoded.preparation == preparation:
            return decoded
    return None


def _load(place: Path, paths: Sequence[str]) -> Decoded | None:
    """An entry, or None where there is none, a damaged one, or one of whose bad pictures can be read by now."""
    try:
        told = json.loads((place / "record.json").read_text())
        preparation = Preparation(**told["preparation"])
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
    if bad.readable.any():  # what was wrong with it has passed
        return None
    return Decoded(pixels[: len(hashes)], hashes, readable, sizes[readable], bad.unreadable, preparation)
