"""Read labelled images of any supported kind: a data set by name, a folder per class, IDX files, or a table."""

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from underhood.core.errors import DataError, UnknownNameError, UnreadableError
from underhood.core.images import Dataset, Images
from underhood.data.cache import decode_cached, take_images
from underhood.data.decode import Progress, decode_files
from underhood.data.idx import find_idx, read_idx_folder
from underhood.data.listing import TABLES, Listing, list_folder, list_table
from underhood.data.named import DEFAULT_FITS, NAMES, DownloadBar, read_named
from underhood.data.split import describe_copies, find_copies, hash_images, hold_out, sample
from underhood.preparation import MAX_PREPARED, Preparation, get_fit, refit
from underhood.preparation.files import expanduser

FIFTH = 0.2  # the fraction held out by default if the data has no validation part
FEW = 8  # images: a warning names classes with fewer


@dataclass(frozen=True)
class ReadOptions:
    """How to read images: the arguments of ``read`` that ``read_parts`` uses."""

    size: int | None = None
    channels: int | None = None
    fit: str | None = None
    preparation: Preparation | None = None
    limit: int | None = None
    seed: int = 0
    cache: bool = True
    progress: Progress | None = None
    bar: DownloadBar | None = None
    verify_cache: bool = False


@dataclass
class Parts:
    """All images of a data set in its own parts, before anything is held out."""

    name: str
    where: str  # the data in error messages
    images: dict[str, Images]  # part → images
    preparation: Preparation
    sizes: np.ndarray  # int [n, 2], width and height of each readable image as stored
    unreadable: dict[str, str] = field(default_factory=dict)  # path → reason
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    groups: dict[str, np.ndarray] = field(default_factory=dict)  # part → int64 [n]: see ``LoadedData``


@dataclass(frozen=True)
class LoadedData:
    """A data set and how it was read."""

    dataset: Dataset
    preparation: Preparation
    notes: list[str]  # what was chosen and what was ignored
    warnings: list[str]  # what may need a fix
    left_out: dict[str, str]  # path of each unreadable image that ``skip_bad`` left out → reason
    validates_on_test: bool = False  # whether the images that validate are the data's test part, as it has no other
    # part → the group of each image, int64 [n], with the same number in all parts; an image that belongs to no group
    # has a number of its own. {} where there are no groups.
    groups: dict[str, np.ndarray] = field(default_factory=dict)


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
    verify_cache: bool = False,
    progress: Progress | None = None,
    bar: DownloadBar | None = None,
) -> Dataset:
    """Read labelled images and split them into training and validation images.

    data: a name (digits, mnist, mnist-3v7, fashion-mnist), a folder, or a CSV or TSV file
    size, channels, fit: pixels a side, 1 (grey) or 3, and what happens to images of another size (pad, crop, stretch,
        digit); by default they are chosen from the images
    preparation: use this one, such as another run's, instead of the three above
    valid: the fraction held out if the data has neither a valid nor a test part; a fifth by default
    seed: of the images held out and of those that ``limit`` selects
    limit: use at most this many images of the training part, each class in proportion
    skip_bad: leave unreadable images out instead of raising an error
    cache: keep the decoded pixels of many image files and reuse them the next time
    verify_cache: compare all reused pixels with their hashes; by default a random sample of 1,000 images
    progress: called with the numbers of files decoded so far and in total
    bar: makes a progress bar for a download from the file name

    Raises UnknownNameError, DataError, and UnreadableError, which lists all unreadable images.
    """
    return load_data(
        data, size=size, channels=channels, fit=fit, preparation=preparation, valid=valid, seed=seed, limit=limit,
        skip_bad=skip_bad, cache=cache, verify_cache=verify_cache, progress=progress, bar=bar,
    ).dataset  # fmt: skip


def load_data(
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
    verify_cache: bool = False,
    progress: Progress | None = None,
    bar: DownloadBar | None = None,
) -> LoadedData:
    """Read labelled images as ``read`` does, with the preparation, notes, warnings and unreadable images beside them.

    The arguments are those of ``read``. Raises UnknownNameError, DataError, UnreadableError.
    """
    if valid is not None and not 0 < valid < 1:
        raise ValueError(f"valid must be between 0 and 1, not {valid}")
    options = ReadOptions(size, channels, fit, preparation, limit, seed, cache, progress, bar, verify_cache)
    parts = read_parts(data, options)
    _check_readable(parts, limit, skip_bad)
    images = {part: these for part, these in parts.images.items() if len(these) or part != "test"}
    warnings = parts.warnings + describe_copies(find_copies(images))
    notes = [f"{parts.preparation.describe()} ({_reason(parts, options)})", *parts.notes]
    if parts.unreadable:
        warnings.append(
            f"left out {len(parts.unreadable)} unreadable image{'s' * (len(parts.unreadable) > 1)}, listed in data.json"
        )
    few = {name: count for name, count in images["train"].counts().items() if count < FEW}
    if few:
        warnings.append(f"few images of {', '.join(f'{name!r} ({count})' for name, count in few.items())}")
    if len(images) == 1:
        dataset = _hold_out(parts, FIFTH if valid is None else valid, seed, notes, warnings)
    else:
        dataset = _given_parts(parts.name, images, notes)
        if valid is not None:
            warnings.append(f"--valid {valid} has no effect: the data has its own validation part")
    on_test = images.keys() == {"train", "test"}
    return LoadedData(dataset, parts.preparation, notes, warnings, parts.unreadable, on_test)


def read_parts(data: str | Path, options: ReadOptions | None = None) -> Parts:
    """Read a data set in its own parts. Nothing is held out; unreadable images are left out and listed.

    Raises DataError; UnknownNameError if ``data`` is neither a known name nor an existing path.
    """
    options = options or ReadOptions()
    path = expanduser(data)
    where = str(path)
    if str(data) in NAMES:
        parts = _from_arrays(str(data), where, read_named(str(data), bar=options.bar), options)
        if path.exists():
            parts.warnings.append(f"{data} is the data set of that name; for the {data} in this folder write ./{data}")
        return parts
    if path.is_dir():
        folder = find_idx(path)
        if folder is not None:
            return _from_arrays(path.resolve().name, where, read_idx_folder(folder), options)
        return _from_listing(path.resolve().name, where, list_folder(path), options)
    if path.is_file() and path.suffix.lower() in TABLES:
        return _from_listing(path.stem, where, list_table(path), options)
    if path.exists():
        raise DataError(f"{path} is neither a folder nor a .csv or .tsv table of images")
    raise UnknownNameError("data", str(data), NAMES, hint=" (and there is no such folder or table)")


def require_classes(parts: Parts) -> None:
    """Raises DataError unless there are two or more classes and each has an image to train on."""
    counts = parts.images["train"].counts()
    empty = [name for name, count in counts.items() if count == 0]
    if empty:
        raise DataError(f"{parts.where}: class {empty[0]!r} has no readable images: add some or remove the class")
    if len(counts) < 2:
        raise DataError(f"{parts.where} has only one class, {next(iter(counts))!r}: a classifier needs two or more")


def _check_readable(parts: Parts, limit: int | None, skip_bad: bool) -> None:
    """Raise an error unless there are images to train and to validate on."""
    if parts.unreadable and not skip_bad:
        raise UnreadableError(parts.unreadable)
    least = len(parts.images["train"].classes)
    if limit is not None and limit < least:
        raise DataError(f"--limit {limit} leaves some classes without an image: it must be at least {least}")
    require_classes(parts)
    if "valid" in parts.images and not len(parts.images["valid"]):
        raise DataError(f"{parts.where}: no image of the valid part can be read: fix them or remove the part")


def _given_parts(name: str, images: dict[str, Images], notes: list[str]) -> Dataset:
    """The data's own validation part, and its test part if there are both."""
    if "valid" not in images:
        notes.append("validated on its test part")
        return Dataset(name, images["train"], images["test"])
    test = images.get("test")
    notes.append("validated on its valid part" + (", scored on its test part once, at the end" if test else ""))
    return Dataset(name, images["train"], images["valid"], test)


def _hold_out(parts: Parts, fraction: float, seed: int, notes: list[str], warnings: list[str]) -> Dataset:
    """This fraction of each class as validation images."""
    images = parts.images["train"]
    train_rows, valid_rows = hold_out(images, fraction, seed)
    train, valid = take_images(images, train_rows), take_images(images, valid_rows)
    notes.append(f"validated on {len(valid):,} images held out ({fraction:.0%} of each class, seed {seed})")
    without = [name for name, count in valid.counts().items() if count == 0]
    if without:
        warnings.append(f"no image of {', '.join(map(repr, without))} could be held out for validation")
    if not len(valid):
        raise DataError(f"{parts.where}: no image can be held out for validation: no class has two different ones")
    return Dataset(parts.name, train, valid)


def _from_arrays(name: str, where: str, images: dict[str, Images], options: ReadOptions) -> Parts:
    """Images that are stored as arrays, at the requested preparation."""
    first = images["train"]
    if options.limit is not None:
        images = images | {"train": first.take(sample(first.labels, options.limit, options.seed))}
    _, channels, height, width = first.pixels.shape
    channels, height, width = options.channels or channels, options.size or height, options.size or width
    if options.preparation is None and max(height, width) > MAX_PREPARED:
        raise DataError(f"{where} has images of {width} × {height} pixels: choose --size, at most {MAX_PREPARED}")
    default = DEFAULT_FITS.get(name, "pad")
    if not get_fit(default).allows(channels, height, width):
        default = "pad"
    preparation = options.preparation or Preparation(channels, height, width, options.fit or default)
    ready = {}
    for part, these in images.items():
        pixels = refit(these.pixels, preparation)
        ready[part] = replace(these, pixels=pixels, precomputed_hashes=hash_images(pixels))
    sizes = np.tile([width, height], (sum(map(len, images.values())), 1))
    kept = not preparation.applies_to_stored
    notes = [f"later images are prepared like these: --fit {preparation.fit}"] if kept else []
    return Parts(name, where, ready, preparation, sizes, notes=notes)


def _from_listing(name: str, where: str, listing: Listing, options: ReadOptions) -> Parts:
    """Images from files."""
    parts = dict(listing.parts)
    if options.limit is not None:
        parts["train"] = parts["train"].take(sample(parts["train"].labels, options.limit, options.seed))
    names = [file for files in parts.values() for file in files.names]
    root = str(listing.root)
    paths = [file if file.startswith("/") else f"{root}/{file}" for file in names]
    of = (str(Path(where).resolve()), options.limit, options.seed if options.limit else None)
    decode = partial(decode_cached, root, of=of, verify=options.verify_cache) if options.cache else decode_files
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
    notes, warnings = listing.notes + decoded.notes, listing.warnings + decoded.warnings
    return Parts(name, where, images, decoded.preparation, decoded.sizes, decoded.unreadable, notes, warnings)


def _reason(parts: Parts, options: ReadOptions) -> str:
    """Where the preparation comes from."""
    if options.preparation:
        return "as in the other run"
    if options.size:
        return f"--size {options.size}, {parts.preparation.fit}"
    sizes = np.unique(parts.sizes, axis=0).tolist()
    if sizes == [[parts.preparation.width, parts.preparation.height]]:
        return "the images' own size"
    return f"images of {len(sizes)} sizes, {parts.preparation.fit}"
