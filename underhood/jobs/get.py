"""``get``: fetch a named data set, write it as a folder per class, or clear the cache of decoded pixels."""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NotRequired, TypedDict

from underhood.core.errors import DataError, UnknownNameError
from underhood.core.images import Images
from underhood.data import cache
from underhood.data.files import encode_png
from underhood.data.named import NAMES, fetch, read_named
from underhood.preparation.files import expanduser
from underhood.training import Reporter


class GetResult(TypedDict):
    """What ``get`` returns."""

    name: str
    path: str  # of the files; "scikit-learn" for digits
    images: NotRequired[int]  # written to a folder


class ClearCacheResult(TypedDict):
    """What ``clear_cache`` returns."""

    path: str
    bytes: int  # that were removed


def get(name: str, as_folder: str | Path | None = None, *, reporter: Reporter | None = None) -> GetResult:
    """Fetch a named data set, or write it as a folder per class with MNIST_SAMPLE's file names.

    as_folder: the folder to write, which must be empty or new

    Returns name, path and, for a folder, images (the number of images written). Raises UnderhoodError
    (UnknownNameError for an unknown name).
    """
    reporter = reporter or Reporter()
    if name not in NAMES:
        raise UnknownNameError("data set", name, NAMES)
    if as_folder is not None:
        parts = read_named(name, bar=reporter.download)
        written = write_folder(
            parts, expanduser(as_folder), lambda done, total: reporter.progress("writing images", done, total)
        )
        return {"name": name, "path": str(as_folder), "images": written}
    if name == "digits":
        return {"name": name, "path": "scikit-learn"}
    return {"name": name, "path": str(fetch("mnist" if name == "mnist-3v7" else name, bar=reporter.download))}


def clear_cache() -> ClearCacheResult:
    """Remove the decoded pixels that are kept for folders. Returns path and bytes (their size)."""
    return {"path": str(cache.cache_folder()), "bytes": cache.clear_cache()}


def write_folder(parts: dict[str, Images], folder: Path, progress: Callable[[int, int], None] | None = None) -> int:
    """Write each image as a PNG file under its own name below ``folder``, which must be empty or new.

    Reading the folder gives the same pixels, labels and order. All files are written to a temporary folder beside it
    first, so that an interrupted call leaves no incomplete data set. progress: called with the numbers of images
    written so far and in total

    Returns the number of images. Raises DataError if the folder is not empty or cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} is not empty: choose another folder, or remove it")
    total = sum(len(images) for images in parts.values())
    folder = folder.resolve()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with cache.new_folder(folder.parent, f".{folder.name}.{cache.WRITING}") as beside:
            for done in _written(parts.values(), beside):
                if progress and (done % 256 == 0 or done == total):
                    progress(done, total)
            beside.chmod(0o777 & ~_umask())  # a temporary folder can be read by its owner alone
            if folder.is_dir():  # it may be the current folder: fill it instead of replacing it
                for entry in beside.iterdir():
                    entry.rename(folder / entry.name)
            else:
                beside.rename(folder)
    except OSError as error:
        raise DataError(f"cannot write {folder} ({error.strerror}): make room or choose another folder") from None
    return total


def _written(parts: Iterable[Images], folder: Path) -> Iterator[int]:
    """Write the images below a folder. Yields the number written so far."""
    made: set[str] = set()
    done = 0
    for images in parts:
        for name, pixels in zip(images.names, images.pixels, strict=True):
            parent, _, _ = name.rpartition("/")
            if parent not in made:
                (folder / parent).mkdir(parents=True, exist_ok=True)
                made.add(parent)
            with open(os.path.join(folder, name), "wb") as file:  # noqa: PTH118, PTH123 (70,000 of them)
                file.write(encode_png(pixels))
            done += 1
            yield done


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
