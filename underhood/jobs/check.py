"""``check``: what is wrong with labelled images before a model is trained on them."""

from collections import Counter
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from underhood.data.read import ReadOptions, read_parts, require_classes
from underhood.data.split import find_copies
from underhood.training import Reporter
from underhood.training.config import TrainConfig


class CheckResult(TypedDict):
    """What ``check`` returns."""

    data: str
    images: int  # that can be read
    classes: dict[str, int]  # name → images
    parts: dict[str, int]  # name → images
    sizes: dict[str, int]  # "width x height" → images
    prepared: str  # what an image becomes
    unreadable: list[str]  # paths
    reasons: dict[str, str]  # path → reason
    conflicts: list[dict[str, Any]]  # one image in two classes
    leaks: list[dict[str, Any]]  # one image in two parts
    duplicates: list[dict[str, Any]]  # one image twice in a class
    notes: list[str]
    suspects: NotRequired[list[dict[str, Any]]]  # label issues


def check(
    data: str | Path = "digits", *, labels: bool = False, cache: bool = True, reporter: Reporter | None = None
) -> CheckResult:
    """Find unreadable files, one image in two classes, duplicates, leaks and, with ``labels``, label issues.

    Returns data, images (how many are readable), classes (name → count), parts (name → count), sizes
    ("width x height" → count), prepared (what an image becomes), unreadable (paths), reasons (path → reason),
    conflicts, leaks and duplicates (one entry per image, with its ``paths``), notes; with ``labels``
    also suspects, the result of ``find_label_issues``, which later runs on this data keep. Raises UnderhoodError.
    """
    reporter = reporter or Reporter()
    parts = read_parts(data, ReadOptions(cache=cache, progress=reporter.read_progress(), bar=reporter.download))
    if not parts.unreadable:
        require_classes(parts)
    counts: Counter[str] = Counter()
    for images in parts.images.values():
        counts.update(images.counts())
    sizes = Counter(f"{width}x{height}" for width, height in parts.sizes.tolist())
    copies = find_copies(parts.images)
    result: CheckResult = {
        "data": str(data),
        "images": sum(counts.values()),
        "classes": {name: counts[name] for name in parts.images["train"].classes},
        "parts": {part: len(images) for part, images in parts.images.items()},
        "sizes": dict(sizes.most_common()),
        "prepared": parts.preparation.describe(),
        "unreadable": list(parts.unreadable),
        "reasons": parts.unreadable,
        "conflicts": copies["conflicts"],
        "leaks": copies["leaks"],
        "duplicates": copies["duplicates"],
        "notes": parts.notes + parts.warnings,
    }
    if labels:
        from underhood.analysis.label_issues import cache_label_issues, find_label_issues

        result["suspects"] = find_label_issues(parts, reporter)
        cache_label_issues(TrainConfig(data).as_dict()["data"], result["suspects"])
    return result
