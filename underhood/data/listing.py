"""Which image files there are, in which part and class: a folder per class, or a CSV or TSV table. Opens no image.

    D/cat/…  D/dog/…                                   no parts
    D/train/cat/…  D/valid/cat/…  D/test/cat/…         parts (also val, validation; training, testing; in any case)

Images may be at any depth below their class. This is the layout of fastbook's MNIST_SAMPLE and of torchvision's
ImageFolder. A table has the columns ``path`` (relative to the table's folder), ``label`` and optionally ``split``, the
part of each row, and ``group``, of images that belong together (``groups.py``).
"""

import os
import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from underhood.core.errors import DataError
from underhood.data.files import csv_rows, short_list
from underhood.preparation.files import SUFFIXES

PARTS = {
    "train": "train", "training": "train",
    "valid": "valid", "val": "valid", "validation": "valid",
    "test": "test", "testing": "test",
}  # fmt: skip
TABLES = {".csv": ",", ".tsv": "\t"}  # suffix → delimiter


@dataclass(frozen=True)
class Files:
    """The image files of one part: names relative to the data's folder, labels as indices into the classes."""

    names: list[str]
    labels: np.ndarray  # int64 [n]
    groups: list[str] | None = None  # of a table's column ``group``; "" where a cell is empty

    def take(self, rows: np.ndarray) -> "Files":
        """The files at these indices, int64 [rows], in that order."""
        groups = None if self.groups is None else [self.groups[i] for i in rows.tolist()]
        return Files([self.names[i] for i in rows.tolist()], self.labels[rows], groups)


@dataclass(frozen=True)
class Listing:
    """The image files of a data set. ``parts`` holds train and, where there are such parts, valid and test."""

    root: Path
    classes: tuple[str, ...]
    parts: dict[str, Files]
    folders: int | None = None  # how many folders of a name are its part and its class; None in a table
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def natural_order(name: str) -> list[tuple[int, int, str]]:
    """A sorting key that puts ``10`` after ``9``."""
    pieces = (piece for piece in re.split(r"([0-9]+)", name) if piece)
    numbers = ((1, len(digits := p.lstrip("0")), digits) if p.isdecimal() else (2, 0, p.lower()) for p in pieces)
    return [*numbers, (0, 0, name)]  # a name sorts before longer names that start with it


def list_folder(root: Path) -> Listing:
    """List a folder of labelled images. Raises DataError if it has no usable layout."""
    ignored: Counter[str] = Counter()
    warnings: list[str] = []
    folders = _part_folders(root, ignored, warnings)
    names = {part: _class_folders(folder, ignored) for part, folder in folders.items()}
    classes = tuple(names["train"])
    _check_classes(names, folders)
    parts = {}
    for part, class_folders in names.items():
        files = _list_part(root, class_folders, classes, ignored)
        counts = np.bincount(files.labels, minlength=len(classes)).tolist()
        empty = [name for name, count in zip(classes, counts, strict=True) if count == 0]
        if empty and part == "train":
            raise DataError(f"class folder {class_folders[empty[0]]} holds no images: fill it or remove it")
        if not files.names:
            raise DataError(f"{folders[part]} holds no images: fill it or remove it")
        if empty:
            missing = short_list([repr(name) for name in empty], 5, ", ")
            warnings.append(f"{folders[part]} has no image of {missing}: accuracy there is not measured")
        parts[part] = files
    notes = []
    if ignored:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(ignored.items()))
        notes.append(f"ignored {sum(ignored.values())} files that are not labelled images ({kinds})")
    return Listing(root, classes, parts, 1 if folders["train"] == root else 2, notes, warnings)


def list_image_files(folder: Path, ignored: Counter[str] | None = None) -> list[str]:
    """The paths of all images at any depth below a folder, sorted as text. Links are followed, each folder once.

    ignored: counts the other files by kind
    """
    ignored = Counter() if ignored is None else ignored
    found: list[str] = []
    seen: set[tuple[int, int]] = set()
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        status = here.stat()
        if (status.st_dev, status.st_ino) in seen:  # a link that leads back up
            continue
        seen.add((status.st_dev, status.st_ino))
        for entry in _entries(here):
            if _is_image(entry.name) and _may_be_opened(entry):
                found.append(entry.path)
            elif _is_folder(entry):
                waiting.append(Path(entry.path))
            else:
                _ignore(entry, ignored)
    return sorted(found)


def list_table(path: Path) -> Listing:
    """List the images of a CSV or TSV file. Raises DataError, which names the line."""
    rows, grouped = _table_rows(path)
    if not rows:
        raise DataError(f"{path} lists no images")
    if "train" not in rows:
        raise DataError(f"{path} has no row whose split is train: add some")
    classes = tuple(sorted({row.label for row in rows["train"]}, key=natural_order))
    index = {name: i for i, name in enumerate(classes)}
    warnings = []
    for part, images in rows.items():
        labels = {row.label for row in images}
        unknown = sorted(labels - set(classes), key=natural_order)
        if unknown:
            raise DataError(f"{path}: class {unknown[0]!r} of {part} is not in train: rename or remove it")
        missing = [name for name in classes if name not in labels]
        if missing:
            warnings.append(f"{part} of {path} has no image of {', '.join(map(repr, missing[:5]))}")
    parts: dict[str, Files] = {}
    for part in ("train", "valid", "test"):
        if part in rows:
            labels_here = np.array([index[row.label] for row in rows[part]], np.int64)
            groups = [row.group for row in rows[part]] if grouped else None
            parts[part] = Files([row.path for row in rows[part]], labels_here, groups)
    return Listing(path.parent, classes, parts, warnings=warnings)


def _part_folders(root: Path, ignored: Counter[str], warnings: list[str]) -> dict[str, Path]:
    """The folder of each part; the whole folder is ``train`` if there are no parts.

    A folder ``train`` is a part, and not a class of vehicles, if it has folders of its own.
    """
    entries = sorted(_entries(root), key=lambda entry: entry.name)
    parts: dict[str, Path] = {}
    for entry in entries:
        part = PARTS.get(entry.name.lower())
        if part and _is_folder(entry) and any(_is_folder(inside) for inside in _entries(Path(entry.path))):
            if part in parts:
                raise DataError(f"{parts[part]} and {entry.path} are both the {part} part: merge or rename one")
            parts[part] = Path(entry.path)
    if not parts:
        return {"train": root}
    if "train" not in parts:
        raise DataError(f"{root} has {' and '.join(path.name for path in parts.values())} but no train folder: add one")
    for entry in entries:
        if Path(entry.path) not in parts.values():
            _ignore(entry, ignored)
            if entry.name.lower() in PARTS and any(_is_image(inside.name) for inside in _entries(Path(entry.path))):
                warnings.append(f"{entry.path} is ignored: its images are not in class folders")
    return {part: parts[part] for part in ("train", "valid", "test") if part in parts}


def _class_folders(folder: Path, ignored: Counter[str]) -> dict[str, Path]:
    """The class folders in natural order. Anything else beside them is ignored."""
    entries = _entries(folder)
    classes = sorted((e.name for e in entries if _is_folder(e)), key=natural_order)
    loose = sum(1 for e in entries if _is_image(e.name))
    if not classes:
        if loose:
            raise DataError(f"{loose} images are in {folder} itself: put each into a folder named after its class")
        raise DataError(f"{folder} holds no images: expected a folder per class with images in it")
    for entry in entries:
        if not _is_folder(entry):
            _ignore(entry, ignored)
    return {name: folder / name for name in classes}


def _check_classes(names: dict[str, dict[str, Path]], folders: dict[str, Path]) -> None:
    """Classes are matched by name: raise DataError for one that train does not have."""
    for part in names:
        for name in names[part]:
            if name not in names["train"]:
                raise DataError(f"class {name!r} of {folders[part]} is not in {folders['train']}: rename or remove it")


def _list_part(root: Path, class_folders: dict[str, Path], classes: Collection[str], ignored: Counter[str]) -> Files:
    """The image files of one part, class by class."""
    prefix = len(str(root / "x")) - 1
    names: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        if name in class_folders:
            paths = list_image_files(class_folders[name], ignored)
            names += [path[prefix:].replace(os.sep, "/") for path in paths]
            labels += [label] * len(paths)
    return Files(names, np.array(labels, np.int64))


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except PermissionError:
        raise DataError(f"folder {folder} cannot be read (permission denied): chmod u+rx it") from None


def _is_folder(entry: os.DirEntry[str]) -> bool:
    hidden = entry.name.startswith(".") or entry.name == "__MACOSX"
    if hidden or not os.path.isdir(entry.path):  # noqa: PTH112 (never raises, as entry.is_dir() does)
        return False
    return not (entry.name == "runs" and _holds_runs(Path(entry.path)))


def _holds_runs(folder: Path) -> bool:
    """Whether a folder named runs holds run folders. Otherwise it is a class."""
    return next(folder.glob("*/environment.json"), None) is not None


def _may_be_opened(entry: os.DirEntry[str]) -> bool:
    """True for a file, and for a broken link, which is reported as unreadable later. Opening a pipe would block."""
    try:
        return entry.is_file() or (entry.is_symlink() and not Path(entry.path).exists())
    except OSError:  # a link to itself
        return True


def _is_image(name: str) -> bool:
    return name[name.rfind(".") :].lower() in SUFFIXES and name[0] != "."


def _ignore(entry: os.DirEntry[str], ignored: Counter[str]) -> None:
    if entry.name.startswith(".") or entry.name == "__MACOSX":
        ignored["hidden"] += 1
    elif os.path.isdir(entry.path):  # noqa: PTH112
        ignored["folder"] += 1
    else:
        ignored[os.path.splitext(entry.name)[1].lower() or "without suffix"] += 1  # noqa: PTH122


class _Row(NamedTuple):
    part: str
    path: str
    label: str
    group: str  # "" for none


def _table_rows(path: Path) -> tuple[dict[str, list[_Row]], bool]:
    """The rows by part, and whether there is a column ``group``."""
    rows: dict[str, list[_Row]] = {}
    lines = csv_rows(path, delimiter=TABLES[path.suffix.lower()], encoding="utf-8-sig", errors="strict")
    try:
        header = [column.strip() for column in next(lines)[1]]
        if not {"path", "label"} <= set(header):
            columns = ", ".join(column for column in header if column) or "none"
            raise DataError(f"{path} has the columns {columns}: it needs path and label")
        for line, fields in lines:
            cells = dict(zip(header, fields, strict=False))  # a row may be short
            row = _table_row(cells, f"{path}, line {line}", "split" in header)
            rows.setdefault(row.part, []).append(row)
    except PermissionError:
        raise DataError(f"{path} cannot be read (permission denied)") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8 text: save it as UTF-8") from None
    except ValueError as error:
        raise DataError(f"{path}, {error}") from None
    return rows, "group" in header


def _table_row(row: dict[str, str], where: str, has_split: bool) -> _Row:
    name, label, split, group = (row.get(column, "").strip() for column in ("path", "label", "split", "group"))
    if not name or not label:
        raise DataError(f"{where}: the {'label' if name else 'path'} is missing")
    if "\0" in name:
        raise DataError(f"{where}: the path has a zero byte in it")
    part = PARTS.get(split.lower(), "") if has_split else "train"
    if not part:
        raise DataError(f"{where}: split is {split!r}: write train, valid or test")
    return _Row(part, name, label, group)
