"""A table of pictures: CSV or TSV with the columns ``path``, ``label`` and, if wanted, ``split``.

Paths are relative to the table's own folder. ``split`` says train, valid or test (or val, training, …) for each row.
"""

import csv
from pathlib import Path

import numpy as np

from underhood.core.errors import DataError
from underhood.data.folder import PARTS, Files, Listing, natural_order

SUFFIXES = {".csv": ",", ".tsv": "\t"}


def list_table(path: Path) -> Listing:
    """List the pictures of a CSV or TSV file. Opens no picture. Raises DataError naming the line."""
    rows: dict[str, list[tuple[str, str]]] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, delimiter=SUFFIXES[path.suffix.lower()], strict=True)
            columns = [column.strip() for column in reader.fieldnames or [] if column]
            if not {"path", "label"} <= set(columns):
                raise DataError(f"{path} has the columns {', '.join(columns) or 'none'}: it needs path and label")
            reader.fieldnames = [column.strip() for column in reader.fieldnames or []]
            for row in reader:
                part, name, label = _row(row, f"{path}, line {reader.line_num}", "split" in columns)
                rows.setdefault(part, []).append((name, label))
    except PermissionError:
        raise DataError(f"{path} may not be read (permission denied)") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8 text: save it as UTF-8") from None
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}") from None
    if not rows:
        raise DataError(f"{path} lists no pictures")
    if "train" not in rows:
        raise DataError(f"{path} has no row whose split is train: add some")
    classes = tuple(sorted({label for _, label in rows["train"]}, key=natural_order))
    index = {name: i for i, name in enumerate(classes)}
    warnings = []
    for part, pictures in rows.items():
        unknown = sorted({label for _, label in pictures} - set(classes), key=natural_order)
        if unknown:
            raise DataError(f"{path}: class {unknown[0]!r} of {part} is not in train: rename or remove it")
        missing = sorted(set(classes) - {label for _, label in pictures}, key=natural_order)
        if missing:
            warnings.append(f"{part} of {path} has no picture of {', '.join(map(repr, missing[:5]))}")
    parts: dict[str, Files] = {
        part: Files([name for name, _ in rows[part]], np.array([index[label] for _, label in rows[part]], np.int64))
        for part in ("train", "valid", "test")
        if part in rows
    }
    return Listing(path.parent, classes, parts, warnings=warnings)


def _row(row: dict[str, str | None], where: str, has_split: bool) -> tuple[str, str, str]:
    name, label, split = ((row.get(column) or "").strip() for column in ("path", "label", "split"))
    if not name or not label:
        raise DataError(f"{where}: the {'label' if name else 'path'} is missing")
    if "\0" in name:
        raise DataError(f"{where}: the path has a zero byte in it")
    part = PARTS.get(split.lower(), "") if has_split else "train"
    if not part:
        raise DataError(f"{where}: split is {split!r}: write train, valid or test")
    return part, name, label
