"""All images of a data set in its own parts, with their groups: from arrays or from files. Nothing is held out."""

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from underhood.core.errors import DataError, UnknownNameError
from underhood.core.images import Images
from underhood.data.cache import decode_cached
from underhood.data.decode import Progress, decode_files
from underhood.data.idx import find_idx, read_idx_folder
from underhood.data.listing import TABLES, Listing, list_folder, list_table
from underhood.data.named import DEFAULT_FITS, NAMES, DownloadBar, read_named
from underhood.data.split import across_parts, hash_images, sample
from underhood.preparation import MAX_PREPARED, Preparation, get_fit, refit
from underhood.preparation.files import expanduser


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
    group_by: str | None = None


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
    grouped: str = ""  # how many groups there are, and what they come from


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
    parts = Parts(name, where, ready, preparation, sizes, notes=notes)
    if options.group_by is not None:
        labels, none = np.concatenate([part.labels for part in ready.values()]), np.empty((0, 1, 1, 1), np.uint8)
        _add_groups(parts, none, labels, options)
    return parts


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
    images, column = {}, []
    ends = np.cumsum([0] + [len(files.names) for files in parts.values()])
    kept = np.cumsum([0, *decoded.readable])[ends].tolist()  # where each part of the readable images begins
    for number, (part, files) in enumerate(parts.items()):
        readable = decoded.readable[ends[number] : ends[number + 1]]
        files = files if readable.all() else files.take(np.flatnonzero(readable))
        rows = slice(kept[number], kept[number + 1])
        images[part] = Images(decoded.pixels[rows], files.labels, listing.classes, files.names, decoded.hashes[rows])
        column += files.groups or []
    notes, warnings = listing.notes + decoded.notes, listing.warnings + decoded.warnings
    read = Parts(name, where, images, decoded.preparation, decoded.sizes, decoded.unreadable, notes, warnings)
    labels = np.concatenate([part.labels for part in images.values()])
    _add_groups(read, decoded.pixels, labels, options, root, listing.folders, column or None)
    return read


def _add_groups(
    parts: Parts, pixels: np.ndarray, labels: np.ndarray, options: ReadOptions, root: str = "",
    folders: int | None = None, column: list[str] | None = None,
) -> None:  # fmt: skip
    """Fill in the groups of the images, and notes about them. Raises DataError.

    pixels, labels: of all parts, one after the other; root, folders, column: see ``groups.Files``
    """
    from underhood.data.groups import Files, find_groups

    names = [name for part in parts.images.values() for name in part.names]
    if not names:
        return
    found = find_groups(Files(root, names, labels, pixels, folders, column, options.cache), options.group_by)
    parts.notes += found.notes
    if found.numbers is not None:
        ends = np.cumsum([len(part) for part in parts.images.values()])[:-1]
        parts.groups = dict(zip(parts.images, np.split(found.numbers, ends), strict=True))
        parts.grouped = found.source


def crossing_groups(parts: Parts) -> list[str]:
    """A line of warning for each two parts that have images of the same group."""
    lines = []
    for (one, other), count in across_parts(parts.groups).items():
        few = "1 group is" if count == 1 else f"{count:,} groups are"
        lines.append(f"{few} in {one} and {other}: the figures on {other} are too good ({parts.grouped})")
    return lines
