"""``check`` and ``get``: what the pictures are like, and where they come from."""

from collections import Counter
from pathlib import Path
from typing import Any

from underhood.core.errors import UnknownNameError
from underhood.data import cache as decoded
from underhood.data.check import find_copies
from underhood.data.named import NAMES, fetch, read_named
from underhood.data.read import Reading, read_parts, require_classes
from underhood.data.suspects import keep_suspects
from underhood.data.write import write_folder
from underhood.preparation.paths import expanded
from underhood.training.config import Request
from underhood.training.reporter import Listener


def check(
    data: str | Path = "digits", *, labels: bool = False, cache: bool = True, listener: Listener | None = None
) -> dict[str, Any]:
    """Look for what would spoil a training: unreadable files, one picture in two classes, copies, leaks.

    Returns data, images (how many are readable), classes (name → count), parts (name → count), sizes
    ("width x height" → count), prepared (what a picture becomes), unreadable (paths), reasons (path → reason),
    conflicts, leaks and duplicates (one entry a picture, each with ``paths``), notes; with ``labels`` suspects, what
    ``find_suspects`` gives, which a report on the same data then shows. Raises UnderhoodError.
    """
    listener = listener or Listener()
    parts = read_parts(data, Reading(cache=cache, progress=listener.reading(), bar=listener.download))
    if not parts.unreadable:
        require_classes(parts)
    counts: Counter[str] = Counter()
    for images in parts.images.values():
        counts.update(images.counts())
    sizes = Counter(f"{width}x{height}" for width, height in parts.sizes.tolist())
    result: dict[str, Any] = {
        "data": str(data),
        "images": sum(counts.values()),
        "classes": {name: counts[name] for name in parts.images["train"].classes},
        "parts": {part: len(images) for part, images in parts.images.items()},
        "sizes": dict(sizes.most_common()),
        "prepared": parts.preparation.describe(),
        "unreadable": list(parts.unreadable),
        "reasons": parts.unreadable,
        **find_copies(parts.images),
        "notes": parts.notes + parts.warnings,
    }
    if labels:
        from underhood.analysis.label_issues import find_suspects

        result["suspects"] = find_suspects(parts, listener)
        keep_suspects(Request(data).as_dict()["data"], result["suspects"])
    return result


def get(name: str, as_folder: str | Path | None = None, *, listener: Listener | None = None) -> dict[str, Any]:
    """Fetch a named data set, or write it out as a folder per class with MNIST_SAMPLE's file names.

    Returns name, path and, for a folder, images (how many). Raises UnderhoodError.
    """
    listener = listener or Listener()
    if name not in NAMES:
        raise UnknownNameError("data set", name, NAMES)
    if as_folder is not None:
        parts = read_named(name, bar=listener.download)
        written = write_folder(
            parts, expanded(as_folder), lambda done, total: listener.progress("writing pictures", done, total)
        )
        return {"name": name, "path": str(as_folder), "images": written}
    if name == "digits":
        return {"name": name, "path": "scikit-learn"}
    return {"name": name, "path": str(fetch("mnist" if name == "mnist-3v7" else name, bar=listener.download))}


def clear_cache() -> dict[str, Any]:
    """Remove the decoded pixels that are kept of folders. Returns path and bytes (how many they took)."""
    return {"path": str(decoded.cache_folder()), "bytes": decoded.clear_cache()}
