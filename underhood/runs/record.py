"""What a run writes down before its first step, and what has changed since, picture by picture."""

import csv
from pathlib import Path
from typing import Any

from underhood.core.errors import RunError
from underhood.core.images import Dataset
from underhood.runs import folder as runs
from underhood.training.config import Request
from underhood.training.setup import Ready

PICTURES = "pictures.csv"
COLUMNS = ["part", "path", "label", "hash"]


def write_record(folder: Path, request: Request, ready: Ready) -> None:
    """config.json, environment.json, data.json, pictures.csv, and augmented.png where pictures are augmented."""
    device = str(ready.learn.device)
    runs.write_json(folder / "config.json", request.as_dict() | ready.recipe.as_dict() | {"device": device})
    runs.write_json(folder / "environment.json", runs.environment(device, ready.learn.ranks.size))
    runs.write_json(folder / "data.json", data_record(ready.dataset))
    pictures = _pictures(ready.dataset)
    runs.write_csv(folder / PICTURES, COLUMNS, ([part, *rest] for (part, *rest) in pictures))
    if ready.recipe.augmentation:
        runs.save_contact_sheet(folder / "augmented.png", ready.learn.dls.train)


def data_record(dataset: Dataset) -> dict[str, Any]:
    """What ``data.json`` holds."""
    return {
        "name": dataset.name,
        "classes": list(dataset.classes),
        "counts": {part: images.counts() for part, images in dataset.parts.items()},
        "sha256": {part: images.digest() for part, images in dataset.parts.items()},
        "preparation": dataset.preparation.as_dict(),
        "left_out": dataset.left_out,
        "notes": dataset.notes,
        "warnings": dataset.warnings,
    }


def changes(folder: Path, now: Dataset | Path) -> list[str]:
    """What is different about a run's pictures in a data set, or in another run; a line each, by file name.

    [] for nothing. Raises RunError where a record cannot be read.
    """
    before = runs.read_json(folder, "data.json")
    after = runs.read_json(now, "data.json") if isinstance(now, Path) else data_record(now)
    if before.get("sha256") == after["sha256"]:
        return []
    if before.get("preparation") != after["preparation"]:
        return [f"they are prepared as {after['preparation']}, no longer as {before.get('preparation')}"]
    old = _recorded(folder)
    new = _recorded(now) if isinstance(now, Path) else {path: (part, *rest) for part, path, *rest in _pictures(now)}
    lines = [f"{path} is gone" for path in old if path not in new]
    lines += [f"{path} is new" for path in new if path not in old]
    moved = []
    for path in old.keys() & new.keys():
        (part, label, content), (part_now, label_now, content_now) = old[path], new[path]
        if content_now != content:
            lines.append(f"{path} has other pixels")
        if label_now != label:
            lines.append(f"{path} is {label_now!r}, no longer {label!r}")
        if part_now != part:  # pictures that come and go change what is held out
            moved.append(f"{path} is in the {part_now} part, no longer in {part}")
    return sorted(lines) or sorted(moved) or ["they come in another order"]


def few(lines: list[str], most: int = 3) -> str:
    """The first lines as one."""
    more = f" and {len(lines) - most:,} more" if len(lines) > most else ""
    return "; ".join(lines[:most]) + more


def _pictures(dataset: Dataset) -> "list[tuple[str, str, str, str]]":
    """(part, path, label, hash) of each picture."""
    return [
        (part, name, images.classes[label], f"{number:016x}")
        for part, images in dataset.parts.items()
        for name, label, number in zip(images.names, images.labels.tolist(), images.hashes.tolist(), strict=True)
    ]


def _recorded(folder: Path) -> dict[str, tuple[str, str, str]]:
    """path → (part, label, hash), as written down."""
    path = folder / PICTURES
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            header, *rows = csv.reader(file)
            if header != COLUMNS:
                raise ValueError(f"expected the columns {', '.join(COLUMNS)}")
            return {name: (part, label, content) for part, name, label, content in rows}
    except (OSError, ValueError, csv.Error) as error:
        raise RunError(f"{path} is damaged or may not be read ({error})") from None
