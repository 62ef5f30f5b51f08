"""Read IDX files, the format of MNIST: a magic number, the counts, then bytes (described by Yann LeCun, 1998).

0 0 8 d        magic: two zeros, 8 for unsigned bytes, d the number of dimensions
n [h w]        d counts of 4 bytes, the highest byte first
…              n (× h × w) bytes
"""

import gzip
import io
import math
import zlib
from pathlib import Path

import numpy as np

from underhood.core.errors import DataError
from underhood.core.images import Images

STEMS = {"train": "train", "valid": "t10k"}  # the 10,000 test images of MNIST are for validation
FOLDERS = ("", "raw", "MNIST/raw", "FashionMNIST/raw")  # the last two are torchvision's
MAX_GZIP_RATIO = 100  # MNIST compresses to a fifth; a much higher ratio is a decompression bomb
ALWAYS_UNPACKED = 16_000_000  # bytes: this many are unpacked from a file of any size


def find_idx(root: Path) -> Path | None:
    """The folder at or below ``root`` that holds IDX files under their standard names, or None."""
    for folder in (root / name for name in FOLDERS):
        if any(_find(folder, f"{stem}-{kind}") for stem in STEMS.values() for kind in ("images", "labels")):
            return folder
    return None


def is_complete(folder: Path) -> bool:
    """Whether all four files are there, each plain or gzip."""
    return all(_find(folder, f"{stem}-{kind}") for stem in STEMS.values() for kind in ("images", "labels"))


def read_idx_folder(folder: Path, classes: tuple[str, ...] | None = None) -> dict[str, Images]:
    """Read the four IDX files in ``folder``, plain or gzip: the parts train and, if its files are there, valid.

    classes: names of the labels 0, 1, …; by default the numbers that occur in train

    Images are named as in fastbook's MNIST_SAMPLE: ``train/3/10000.png`` is training image 10,000. Raises DataError if
    files are missing, damaged, or do not match.
    """
    found = {part: pair for part, stem in STEMS.items() if (pair := _read_pair(folder, stem)) is not None}
    if "train" not in found:
        raise DataError(f"{folder} has t10k files but no train-images-idx3-ubyte and train-labels-idx1-ubyte: add them")
    used = np.unique(found["train"][1])
    if classes is None:
        classes = tuple(str(label) for label in used)
    else:
        used = np.arange(len(classes))
    parts = {}
    for part, (pixels, raw) in found.items():
        unknown = np.setdiff1d(raw, used)
        if len(unknown):
            raise DataError(f"{folder}: {part} has label {unknown[0]}, which is none of {', '.join(map(str, used))}")
        if pixels.shape[2:] != found["train"][0].shape[2:]:
            raise DataError(f"{folder}: {part} images are {pixels.shape[2:]}, train's {found['train'][0].shape[2:]}")
        labels = np.searchsorted(used, raw).astype(np.int64)
        names = [f"{part}/{classes[label]}/{i}.png" for i, label in enumerate(labels.tolist())]
        parts[part] = Images(pixels, labels, classes, names)
    return parts


def read_idx(path: Path) -> np.ndarray:
    """Read one IDX file of unsigned bytes, plain or gzip: uint8 [n] or [n, h, w]. Raises DataError."""
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            size = path.stat().st_size
            room = max(ALWAYS_UNPACKED, size * MAX_GZIP_RATIO) if packed else size
            if packed:
                with gzip.GzipFile(fileobj=file) as unpacked:
                    return _read_body(unpacked, path, room, packed)
            return _read_body(file, path, room, packed)
    except PermissionError:
        raise DataError(f"{path} cannot be read (permission denied)") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is a damaged gzip file ({error}): fetch it again") from None


def _read_body(file: io.BufferedIOBase, path: Path, room: int, packed: bool) -> np.ndarray:
    """The array after the magic number. room: the largest number of bytes that it may have"""
    shape = _read_shape(file, path)
    declared = math.prod(shape or ())
    if declared > room and packed:
        raise DataError(f"{path} declares {declared:,} bytes, but at most {room:,} are unpacked from so small a file")
    if shape is None or declared > room:
        raise DataError(f"{path} is too short for what its header declares: fetch it again")
    body = np.empty(declared, np.uint8)
    held, view = 0, body.data
    while held < declared and (count := file.readinto(view[held:])):
        held += count
    if held < declared or file.read(1):
        raise DataError(f"{path} declares {declared:,} bytes but holds {'fewer' if held < declared else 'more'}")
    return body.reshape(shape)


def _read_shape(file: io.BufferedIOBase, path: Path) -> tuple[int, ...] | None:
    """The counts in the header, or None if the file ends within them."""
    magic = file.read(4)
    if len(magic) < 4 or magic[:3] != b"\x00\x00\x08" or magic[3] not in (1, 3):
        raise DataError(f"{path} is not an IDX file of bytes: it begins with {magic.hex(' ') or 'nothing'}")
    header = file.read(4 * magic[3])
    return tuple(np.frombuffer(header, ">u4").tolist()) if len(header) == 4 * magic[3] else None


def _read_pair(folder: Path, stem: str) -> tuple[np.ndarray, np.ndarray] | None:
    images_path, labels_path = (_find(folder, f"{stem}-{kind}") for kind in ("images", "labels"))
    if images_path is None and labels_path is None:
        return None
    if images_path is None:
        raise DataError(f"{labels_path} has labels but no {stem}-images-idx3-ubyte[.gz] is beside it: add it")
    if labels_path is None:
        raise DataError(f"{images_path} has no {stem}-labels-idx1-ubyte[.gz] beside it: add it")
    pixels, labels = read_idx(images_path), read_idx(labels_path)
    if pixels.ndim != 3 or 0 in pixels.shape:
        raise DataError(f"{images_path} holds no images (its counts are {pixels.shape})")
    if labels.ndim != 1 or len(labels) != len(pixels):
        raise DataError(f"{images_path} has {len(pixels):,} images but {labels_path} has {len(labels):,} labels")
    return pixels[:, None], labels


def _find(folder: Path, name: str) -> Path | None:
    dimensions = 3 if name.endswith("images") else 1
    for ending in (f"-idx{dimensions}-ubyte", f"-idx{dimensions}-ubyte.gz"):
        if (path := folder / f"{name}{ending}").is_file():
            return path
    return None
