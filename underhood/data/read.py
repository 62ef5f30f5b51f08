"""DATA, whatever it is, into pictures: a name, a folder per class, IDX files, or a table."""

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from underhood.core.errors import DataError, UnknownNameError, UnreadableError
from underhood.core.images import Dataset, Images
from underhood.data.cache import decode_cached
from underhood.data.check import describe_copies, find_copies
from underhood.data.decode import Progress, decode_files
from underhood.data.folder import Listing, list_folder
from underhood.data.idx import find_idx, read_idx_folder
from underhood.data.named import DIGIT_SETS, NAMES, DownloadBar, read_named
from underhood.data.split import hold_out, sample
from underhood.data.table import SUFFIXES as TABLES, list_table
from underhood.preparation.paths import expanded
from underhood.preparation.prepare import Preparation, refit

FIFTH = 0.2  # held out where the data has no validation part and nobody says how much
FEW = 8  # pictures: a class with fewer is worth a warning


@dataclass
class Parts:
    """Everything that was read, as the data itself divides it, before anything is held out.

    where: what to call the data in an error; sizes: int [n, 2], width and height of each readable picture as stored;
    unreadable: path to reason
    """

    name: str
    where: str
    images: dict[str, Images]
    preparation: Preparation
    sizes: np.ndarray
    unreadable: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def read(
    data: str | Path = "digits",
    *,
    size: int | None = None,
    channels: int | None = None,
    fit: str | None = None,
    preparation: Preparation | None = None,
    valid: float | None = None,
    seed: int = 0,
    limit: int | None = None,
    skip_bad: bool = False,
    cache: bool = True,
    progress: Progress | None = None,
    bar: DownloadBar | None = None,
) -> Dataset:
    """Read labelled pictures and say which train and which validate.

    data: a name (digits, mnist, mnist-3v7, fashion-mnist), a folder, or a CSV or TSV file
    size, channels, fit: the pixels to make of each picture; without them they are chosen from the pictures, which are
        padded where they fit not; the sets of digits note that later pictures are to be prepared as theirs were
    preparation: take this one instead, such as another run's
    valid: the fraction held out where the data has neither a valid nor a test part, a fifth by default
    limit: use at most this many pictures of the training part, each class in proportion, drawn from the seed
    skip_bad: leave unreadable pictures out instead of stopping
    cache: keep the decoded pixels of many picture files, and take them from there the next time (``data/cache.py``)

    Raises UnknownNameError, DataError, UnreadableError (which lists every unreadable picture).
    """
    if valid is not None and not 0 < valid < 1:
        raise ValueError(f"valid must lie between 0 and 1, not {valid}")
    options = Reading(size, channels, fit, preparation, limit, seed, cache, progress, bar)
    parts = read_parts(data, options)
    if parts.unreadable and not skip_bad:
        raise UnreadableError(parts.unreadable)
    if limit is not None and limit < len(parts.images["train"].classes):
        least = len(parts.images["train"].classes)
        raise DataError(f"--limit {limit} leaves some classes without a picture: it must be at least {least}")
    require_classes(parts)
    images = {part: these for part, these in parts.images.items() if len(these) or part != "test"}
    if "valid" in images and not len(images["valid"]):
        raise DataError(f"{parts.where}: no picture of the valid part can be read: mend them or remove the part")
    warnings = parts.warnings + describe_copies(find_copies(images))
    notes = [f"{parts.preparation.describe()} ({_why(parts, options)})", *parts.notes]
    if parts.unreadable:
        warnings.append(f"left out {len(parts.unreadable)} unreadable pictures, listed in data.json")
    train, test = images["train"], None
    few = {name: count for name, count in train.counts().items() if count < FEW}
    if few:
        warnings.append(f"few pictures of {', '.join(f'{name!r} ({count})' for name, count in few.items())}")
    if "valid" in images:
        held, test = images["valid"], images.get("test")
        notes.append("validated on its valid part" + (", scored on its test part once, at the end" if test else ""))
    elif "test" in images:
        held = images["test"]
        notes.append("validated on its test part")
    else:
        fraction = FIFTH if valid is None else valid
        train_rows, valid_rows = hold_out(train, fraction, seed)
        train, held = train.take(train_rows), train.take(valid_rows)
        notes.append(f"validated on {len(held):,} pictures held out ({fraction:.0%} of each class, seed {seed})")
        without = [name for name, count in held.counts().items() if count == 0]
        if without:
            warnings.append(f"no picture of {', '.join(map(repr, without))} could be held out for validation")
        if not len(held):
            raise DataError(f"{parts.where}: no picture can be held out to validate on: no class has two that differ")
    if valid is not None and len(images) > 1:
        warnings.append(f"--valid {valid} has no effect: the data brings its own validation part")
    return Dataset(parts.name, train, held, test, parts.preparation, notes, warnings, parts.unreadable)


@dataclass(frozen=True)
class Reading:
    """How to read, for ``read_parts``: the arguments of ``read`` that concern single pictures."""

    size: int | None = None
    channels: int | None = None
    fit: str | None = None
    preparation: Preparation | None = None
    limit: int | None = None
    seed: int = 0
    cache: bool = True
    progress: Progress | None = None
    bar: DownloadBar | None = None


def read_parts(data: str | Path, options: Reading | None = None) -> Parts:
    """Read DATA as the data itself divides it. Unreadable pictures are left out and listed, nothing is held out.

    Raises DataError; UnknownNameError where DATA is neither a name that is known nor a path that is there.
    """
    options = options or Reading()
    path = expanded(data)
    where = str(path)
    if str(data) in NAMES:
        parts = _from_arrays(str(data), where, read_named(str(data), bar=options.bar), options)
        if path.exists():
            parts.warnings.append(f"{data} is the data set of that name; for the {data} that lies here write ./{data}")
        return parts
    if path.is_dir():
        folder = find_idx(path)
        if folder is not None:
            return _from_arrays(path.resolve().name, where, read_idx_folder(folder), options)
        return _from_listing(path.resolve().name, where, list_folder(path), options)
    if path.is_file() and path.suffix.lower() in TABLES:
        return _from_listing(path.stem, where, list_table(path), options)
    if path.exists():
        raise DataError(f"{path} is neither a folder nor a .csv or .tsv table of pictures")
    raise UnknownNameError("data", str(data), NAMES, hint=" (and there is no such folder or table)")


def require_classes(parts: Parts) -> None:
    """Raise DataError unless two classes have pictures to train on and each named class has at least one."""
    counts = parts.images["train"].counts()
    empty = [name for name, count in counts.items() if count == 0]
    if empty:
        raise DataError(f"{parts.where}: class {empty[0]!r} has no readable pictures: add some or remove the class")
    if len(counts) < 2:
        raise DataError(f"{parts.where} has only one class, {next(iter(counts))!r}: a classifier needs two or more")


def _from_arrays(name: str, where: str, images: dict[str, Images], options: Reading) -> Parts:
    first = images["train"]
    if options.limit is not None:
        images = images | {"train": first.take(sample(first.labels, options.limit, options.seed))}
    _, channels, height, width = first.pixels.shape
    channels, height, width = options.channels or channels, options.size or height, options.size or width
    digits = name in DIGIT_SETS and channels == 1 and height == width
    fit = options.fit or ("digit" if digits else "pad")
    preparation = options.preparation or Preparation(channels, height, width, fit)
    ready = {part: replace(these, pixels=refit(these.pixels, preparation)) for part, these in images.items()}
    sizes = np.tile([width, height], (sum(map(len, images.values())), 1))
    notes = ["later pictures become like these: --fit digit"] if preparation.fit == "digit" else []
    return Parts(name, where, ready, preparation, sizes, notes=notes)


def _from_listing(name: str, where: str, listing: Listing, options: Reading) -> Parts:
    parts = dict(listing.parts)
    if options.limit is not None:
        parts["train"] = parts["train"].take(sample(parts["train"].labels, options.limit, options.seed))
    names = [file for files in parts.values() for file in files.names]
    root = str(listing.root)
    paths = [f"{root}/{file}" if not file.startswith("/") else file for file in names]
    of = (str(Path(where).resolve()), options.limit, options.seed if options.limit else None)
    decode = partial(decode_cached, root, of=of) if options.cache else decode_files
    decoded = decode(
        paths, size=options.size, channels=options.channels, fit=options.fit or "pad", preparation=options.preparation,
        progress=options.progress,
    )  # fmt: skip
    images, row, kept = {}, 0, 0
    for part, files in parts.items():
        readable = decoded.readable[row : row + len(files.names)]
        files = files if readable.all() else files.take(np.flatnonzero(readable))
        rows = slice(kept, kept + len(files.names))
        images[part] = Images(decoded.pixels[rows], files.labels, listing.classes, files.names, decoded.hashes[rows])
        row, kept = row + len(readable), kept + len(files.names)
    notes = listing.notes + decoded.notes
    return Parts(name, where, images, decoded.preparation, decoded.sizes, decoded.unreadable, notes, listing.warnings)


def _why(parts: Parts, options: Reading) -> str:
    if options.preparation:
        return "as the other run's"
    if options.size:
        return f"--size {options.size}, {parts.preparation.fit}"
    if len(np.unique(parts.sizes, axis=0)) == 1 and tuple(parts.sizes[0]) == (
        parts.preparation.width,
        parts.preparation.height,
    ):
        return "the pictures' own size"
    return f"pictures of {len(np.unique(parts.sizes, axis=0))} sizes, {parts.preparation.fit}"
