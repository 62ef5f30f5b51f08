"""Labels that ``check --labels`` doubts, kept beside the decoded pixels so that a later report on the same data shows
them."""

import csv
import hashlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from underhood.data import cache

COLUMNS = ["path", "label", "predicted", "probability", "label_probability"]


def keep_suspects(data: str, suspects: Sequence[dict[str, Any]]) -> None:
    """data: a name, or a path in full. Where nothing can be written, nothing is kept: the command has told them."""
    path = _place(data)
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        with part.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(suspects)
        part.replace(path)


def kept_suspects(data: str) -> list[dict[str, str]]:
    """What was kept of the same data; [] for nothing."""
    try:
        with _place(data).open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            return [row for row in csv.DictReader(file) if set(row) == set(COLUMNS)]
    except (OSError, csv.Error):
        return []


def _place(data: str) -> Path:
    return (
        cache.cache_folder()
        / f"suspects-{hashlib.sha256(data.encode('utf-8', 'surrogateescape')).hexdigest()[:32]}.csv"
    )
