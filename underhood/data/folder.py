"""A folder per class: which pictures there are, in which part and class. Opens no picture.

    D/cat/…  D/dog/…                                   no parts
    D/train/cat/…  D/valid/cat/…  D/test/cat/…         parts (also val, validation; training, testing; any letter case)

Pictures may lie at any depth below their class. This is the layout of fastbook's MNIST_SAMPLE and of torchvision's
ImageFolder.
"""

import os
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from underhood.core.errors import DataError
from underhood.preparation.prepare import SUFFIXES

PARTS = {
    "train": "train", "training": "train",
    "valid": "valid", "val": "valid", "validation": "valid",
    "test": "test", "testing": "test",
}  # fmt: skip


@dataclass(frozen=True)
class Files:
    """The pictures of one part: names relative to the data's folder, labels as indices into the listing's classes."""

    names: list[str]
    labels: np.ndarray  # int64 [n]

    def take(self, rows: np.ndarray) -> "Files":
        """Those at these indices, int64 [rows], in that order."""
        return Files([self.names[i] for i in rows.tolist()], self.labels[rows])


@dataclass(frozen=True)
class Listing:
    """Which picture files there are. ``parts`` holds train and, where there are, valid and test."""

    root: Path
    classes: tuple[str, ...]
    parts: dict[str, Files]
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def natural_order(name: str) -> list[tuple[int, int, str]]:
    """A sorting key under which ``10`` comes after ``9``."""
    pieces = (piece for piece in re.split(r"([0-9]+)", name) if piece)
    numbers = ((1, len(digits := p.lstrip("0")), digits) if p.isdecimal() else (2, 0, p.lower()) for p in pieces)
    return [*numbers, (0, 0, name)]  # the end of a name comes before anything that goes on


def list_folder(root: Path) -> Listing:
    """List a folder of labelled pictures. Raises DataError where it is not one."""
    passed_over: Counter[str] = Counter()
    warnings: list[str] = []
    folders = _part_folders(root, passed_over, warnings)
    names = {part: _class_folders(folder, passed_over) for part, folder in folders.items()}
    classes = tuple(names["train"])
    _refuse_unknown_classes(names, folders)
    parts = {}
    prefix = len(str(root / "x")) - 1
    for part, class_folders in names.items():
        found: list[str] = []
        labels: list[int] = []
        for label, name in enumerate(classes):
            if name not in class_folders:
                continue
            pictures = [path[prefix:].replace(os.sep, "/") for path in picture_files(class_folders[name], passed_over)]
            if not pictures and part == "train":
                raise DataError(f"class folder {class_folders[name]} holds no pictures: fill it or remove it")
            found += pictures
            labels += [label] * len(pictures)
        if not found:
            raise DataError(f"{folders[part]} holds no pictures: fill it or remove it")
        missing = [name for label, name in enumerate(classes) if label not in set(labels)]
        if missing:
            warnings.append(f"{folders[part]} has no picture of {_few(missing)}: accuracy there is not measured")
        parts[part] = Files(found, np.array(labels, np.int64))
    notes = []
    if passed_over:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(passed_over.items()))
        notes.append(f"passed over {sum(passed_over.values())} files that are not labelled pictures ({kinds})")
    return Listing(root, classes, parts, notes, warnings)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except PermissionError:
        raise DataError(f"folder {folder} may not be read (permission denied): chmod u+rx it") from None


def _is_folder(entry: os.DirEntry[str]) -> bool:
    hidden = entry.name.startswith(".") or entry.name == "__MACOSX"
    if hidden or not os.path.isdir(entry.path):  # noqa: PTH112 (never raises, as entry.is_dir() does)
        return False
    return not (entry.name == "runs" and _holds_runs(Path(entry.path)))


def _holds_runs(folder: Path) -> bool:
    """Whether a folder called runs is ours, and not a class of runs."""
    return next(folder.glob("*/environment.json"), None) is not None


def _part_folders(root: Path, passed_over: Counter[str], warnings: list[str]) -> dict[str, Path]:
    """The folder of each part; the whole folder is ``train`` where there are no parts.

    ``train`` is a part, not a class of vehicles, if it holds folders of its own.
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
            _pass_over(entry, passed_over)
            if entry.name.lower() in PARTS and any(_is_picture(inside.name) for inside in _entries(Path(entry.path))):
                warnings.append(f"{entry.path} is passed over: its pictures lie in no class folder")
    return {part: parts[part] for part in ("train", "valid", "test") if part in parts}


def _class_folders(folder: Path, passed_over: Counter[str]) -> dict[str, Path]:
    """The class folders in natural order; whatever else lies beside them is passed over."""
    entries = _entries(folder)
    classes = sorted((e.name for e in entries if _is_folder(e)), key=natural_order)
    loose = sum(1 for e in entries if _is_picture(e.name))
    if not classes:
        if loose:
            raise DataError(f"{loose} pictures lie in {folder} itself: put each into a folder named by its class")
        raise DataError(f"{folder} holds no pictures: expected a folder per class with pictures in it")
    for entry in entries:
        if not _is_folder(entry):
            _pass_over(entry, passed_over)
    return {name: folder / name for name in classes}


def _refuse_unknown_classes(names: dict[str, dict[str, Path]], folders: dict[str, Path]) -> None:
    """Classes are matched by name: raise DataError for one that train does not have."""
    for part in names:
        for name in names[part]:
            if name not in names["train"]:
                raise DataError(f"class {name!r} of {folders[part]} is not in {folders['train']}: rename or remove it")


def picture_files(folder: Path, passed_over: Counter[str] | None = None) -> list[str]:
    """The paths of every picture at any depth below a folder, sorted as text. Follows links, each folder once."""
    passed_over = Counter() if passed_over is None else passed_over
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
            if _is_picture(entry.name) and _may_be_opened(entry):
                found.append(entry.path)
            elif _is_folder(entry):
                waiting.append(Path(entry.path))
            else:
                _pass_over(entry, passed_over)
    return sorted(found)


def _may_be_opened(entry: os.DirEntry[str]) -> bool:
    """A file, or a link that leads nowhere, which is then listed as unreadable. A pipe would wait for ever."""
    try:
        return entry.is_file() or (entry.is_symlink() and not Path(entry.path).exists())
    except OSError:  # a link that leads to itself
        return True


def _is_picture(name: str) -> bool:
    return name[name.rfind(".") :].lower() in SUFFIXES and name[0] != "."


def _pass_over(entry: os.DirEntry[str], passed_over: Counter[str]) -> None:
    if entry.name.startswith(".") or entry.name == "__MACOSX":
        passed_over["hidden"] += 1
    elif os.path.isdir(entry.path):  # noqa: PTH112
        passed_over["folder"] += 1
    else:
        passed_over[os.path.splitext(entry.name)[1].lower() or "without suffix"] += 1  # noqa: PTH122


def _few(names: list[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(repr(name) for name in names[:most]) + more
