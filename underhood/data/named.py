"""Data sets by name: ``digits``, ``mnist``, ``mnist-3v7``, ``fashion-mnist``.

``digits`` is part of scikit-learn. The others are looked up in ``$UNDERHOOD_DATA/NAME`` and in the cache, then
downloaded from the first mirror that has them. Downloaded files are checked against their published MD5 at each use.
"""

import gzip
import hashlib
import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from underhood.core.errors import DataError
from underhood.core.images import Images
from underhood.data.files import user_cache
from underhood.data.idx import find_idx, is_complete, read_idx_folder
from underhood.preparation.files import expanduser

DIGITS = tuple("0123456789")
FASHION = (  # used as folder names, so with a dash instead of a slash
    "T-shirt-top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
FILES = (
    "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz",
)  # fmt: skip
MIRRORS = {
    "mnist": (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    "fashion-mnist": ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
}
MD5 = {
    "mnist": (
        "f68b3c2dcbeaaa9fbdd348bbdeb94873", "d53e105ee54ea40749a09fcbcd1e9432",
        "9fb629c4189551a2d022fa330f9573f3", "ec29112dd5afa0611ce80d1b7f02629c",
    ),
    "fashion-mnist": (
        "8d4fb7e6c68d591d4c3dfef9ec88bf0d", "25c81989df183df01b3e8a0aad5dffbe",
        "bef4ecab320f06d8554ea6380940ec79", "bb300cfdad3c16e7a12a480ee83cd310",
    ),
}  # fmt: skip
NAMES = ("digits", "mnist", "mnist-3v7", "fashion-mnist")
DEFAULT_FITS = dict.fromkeys(("digits", "mnist", "mnist-3v7"), "digit")  # how later images are brought into their form

DownloadBar = Callable[[str], Any]  # file name → an object with total, update(n), reset() and close(), see pooch


def read_named(name: str, download: bool = True, bar: DownloadBar | None = None) -> dict[str, Images]:
    """Read a data set by name. ``digits`` has only the part ``train``, the others have ``train`` and ``valid``.

    download: whether files that are missing may be downloaded; bar: makes a progress bar for each. Raises DataError if
    the data set cannot be read.
    """
    if name == "digits":
        return {"train": read_digits()}
    if name == "mnist-3v7":
        return {part: threes_and_sevens(images) for part, images in read_named("mnist", download, bar).items()}
    return read_idx_folder(fetch(name, download, bar), FASHION if name == "fashion-mnist" else DIGITS)


def read_digits() -> Images:
    """The 1,797 handwritten digits, 8 × 8, of scikit-learn (UCI's optical recognition test set; E. Alpaydin, 1998).

    Read from scikit-learn's file without importing scikit-learn. The 17 grey levels, 0 to 16, become 0 to 255.
    Raises DataError if scikit-learn is not installed.
    """
    spec = find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise DataError("digits come with scikit-learn: pip install scikit-learn")
    with gzip.open(Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz", "rt") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.uint8)  # [1797, 65], the last column is the label
    pixels = ((table[:, :-1].astype(np.uint16) * 255 + 8) // 16).astype(np.uint8).reshape(-1, 1, 8, 8)
    labels = table[:, -1].astype(np.int64)
    return Images(pixels, labels, DIGITS, [f"{label}/{i}.png" for i, label in enumerate(labels.tolist())])


def threes_and_sevens(images: Images) -> Images:
    """Fastbook's MNIST_SAMPLE from MNIST: the 3s, then the 7s, each sorted by file name as text."""
    label = np.array([images.classes.index("3"), images.classes.index("7")])
    chosen = np.flatnonzero(np.isin(images.labels, label))
    order = sorted(chosen.tolist(), key=lambda i: (images.labels[i], images.names[i]))
    sample = images.take(np.array(order))
    return Images(sample.pixels, np.searchsorted(label, sample.labels), ("3", "7"), sample.names)


def places(name: str) -> list[Path]:
    """The folders in which a data set is looked up, in order. The last is the cache, where downloads are stored."""
    base = os.environ.get("UNDERHOOD_DATA")
    return [*([expanduser(base) / name] if base else []), user_cache() / name]


def fetch(name: str, download: bool = True, bar: DownloadBar | None = None) -> Path:
    """The folder with a data set's four IDX files, downloaded if necessary. Raises DataError if that fails."""
    cache = places(name)[-1]
    for place in places(name):
        found = find_idx(place)
        if found is not None and is_complete(found) and (place != cache or _is_published(found, name)):
            return found
    if not download:
        raise DataError(_missing(name, cache, "not there"))
    for file, md5 in zip(FILES, MD5[name], strict=True):
        _download(name, file, md5, cache, bar)
    return cache


def _is_published(folder: Path, name: str) -> bool:
    """Whether the packed files in a folder are the published ones. Unpacked ones are the user's own."""
    for path, md5 in ((folder / file, md5) for file, md5 in zip(FILES, MD5[name], strict=True)):
        if path.is_file():
            with path.open("rb") as file:
                if hashlib.file_digest(file, "md5").hexdigest() != md5:
                    return False
    return True


def _download(name: str, file: str, md5: str, cache: Path, bar: DownloadBar | None) -> None:
    import logging

    import pooch

    pooch.get_logger().setLevel(logging.WARNING)
    reasons = []
    for mirror in MIRRORS[name]:
        progress: Any = bar(file) if bar else False
        try:
            downloader = pooch.HTTPDownloader(timeout=15, progressbar=progress)
            pooch.retrieve(mirror + file, f"md5:{md5}", fname=file, path=cache, downloader=downloader)
            return
        except (PermissionError, FileExistsError, NotADirectoryError) as error:
            raise DataError(
                f"cannot write to the cache {cache} ({error.strerror}): fix it or set XDG_CACHE_HOME"
            ) from None
        except (OSError, ValueError) as error:  # no network, an error page of the mirror, or a wrong checksum
            reasons.append(f"{mirror}: {type(error).__name__}")
        finally:
            if progress:
                progress.close()
    raise DataError(_missing(name, cache, "; ".join(reasons)))


def _missing(name: str, cache: Path, reason: str) -> str:
    return (
        f"cannot download {name} ({reason}): put {', '.join(FILES)} into {cache}, "
        f"or set UNDERHOOD_DATA to the folder above a folder {name} that holds them"
    )
