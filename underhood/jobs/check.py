"""``check``: what is wrong with labelled images before a model is trained on them.

``check --leaks`` also measures what a leak is worth: the accuracy with it and without it. ``check --labels`` also finds
label issues: images whose label is probably wrong, by models that were not trained on them. It keeps them in the
cache; a training on the same data copies them into its run folder, for the report.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np

from underhood.analysis.shortcuts import Shortcut, find_shortcuts
from underhood.core.errors import DataError, DivergedError, RunError
from underhood.data import cache as decoded
from underhood.data.cache import take_images
from underhood.data.near_duplicates import content_shares, find_near_duplicates, near_duplicate_entries
from underhood.data.parts import Parts, ReadOptions, crossing_groups, read_parts, require_classes
from underhood.data.split import find_copies, folds, join
from underhood.runs.folder import LabelIssue, read_label_issues, write_label_issues
from underhood.training import Reporter
from underhood.training.config import TrainConfig
from underhood.training.leaks import measure_leak, predict_held_out

FOLDS = 5


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
    leaks: list[dict[str, Any]]  # one image, or near-duplicates, in two parts
    duplicates: list[dict[str, Any]]  # one image twice in a class
    near_duplicates: list[dict[str, Any]]  # changed copies of an image
    shortcuts: list[Shortcut]  # what tells the classes apart and should not
    notes: list[str]
    leak: NotRequired[dict[str, Any]]
    suspects: NotRequired[list[LabelIssue]]


def check(
    data: str | Path = "digits",
    *,
    leaks: bool = False,
    labels: bool = False,
    group_by: str | None = None,
    cache: bool = True,
    verify_cache: bool = False,
    reporter: Reporter | None = None,
) -> CheckResult:
    """Find unreadable files, one image in two classes, duplicates, near-duplicates, leaks and label issues.

    leaks: also train one or two models, to measure the accuracy with and without leaks
    labels: also train five models, and list label issues
    group_by: a regular expression; images with the same match in their names are a group, see ``read``

    Returns data, images (how many are readable), classes (name → count), parts (name → count), sizes
    ("width x height" → count), prepared (what an image becomes), unreadable (paths), reasons (path → reason),
    conflicts, leaks and duplicates (one entry per image, with its ``paths``), near_duplicates (one entry per image and
    its changed copies, with ``paths``, ``similarity``, ``kind`` and ``splits``; those in several parts are among the
    leaks, too), shortcuts (what tells the classes apart and should not, see ``find_shortcuts``), notes; with ``leaks``
    also ``leak``, the result of ``measure_leak``; with ``labels`` also ``suspects``, the result of
    ``find_label_issues``, which later runs on this data keep. Where a class has no readable image, nothing is trained:
    both are left out, and a note says why. Raises UnderhoodError.
    """
    reporter = reporter or Reporter()
    progress, bar = reporter.read_progress(), reporter.download
    options = ReadOptions(cache=cache, verify_cache=verify_cache, progress=progress, bar=bar, group_by=group_by)
    parts = read_parts(data, options)
    if not parts.unreadable:
        require_classes(parts)
    looking = partial(reporter.progress, "looking for copies")
    images = list(parts.images.values())
    near = find_near_duplicates(images, content_shares(parts.preparation, parts.sizes, images), looking)
    result = _findings(parts, str(data), near_duplicate_entries(parts.images, near))
    if (leaks or labels) and not _can_train(parts, result["notes"]):
        return result
    if leaks:
        config = TrainConfig(data, effort="fast", skip_bad=True, cache=cache, group_by=group_by)
        result["leak"] = measure_leak(parts, near, config, reporter)
    if labels:
        result["suspects"] = find_label_issues(parts, reporter)
        cache_label_issues(TrainConfig(data).as_dict()["data"], result["suspects"])
    return result


def _can_train(parts: Parts, notes: list[str]) -> bool:
    """Whether each class has an image to train on. Adds a note where one has none."""
    try:
        require_classes(parts)
    except DataError as error:
        notes.append(f"no model is trained: {error}")
        return False
    return True


def _findings(parts: Parts, data: str, near_duplicates: list[dict[str, Any]]) -> CheckResult:
    counts: Counter[str] = Counter()
    for images in parts.images.values():
        counts.update(images.counts())
    sizes = Counter(f"{width}x{height}" for width, height in parts.sizes.tolist())
    copies = find_copies(parts.images)
    across = [{"paths": one["paths"], "parts": one["splits"]} for one in near_duplicates if len(one["splits"]) > 1]
    return {
        "data": data,
        "images": sum(counts.values()),
        "classes": {name: counts[name] for name in parts.images["train"].classes},
        "parts": {part: len(images) for part, images in parts.images.items()},
        "sizes": dict(sizes.most_common()),
        "prepared": parts.preparation.describe(),
        "unreadable": list(parts.unreadable),
        "reasons": parts.unreadable,
        "conflicts": copies["conflicts"],
        "leaks": copies["leaks"] + across,
        "duplicates": copies["duplicates"],
        "near_duplicates": near_duplicates,
        "shortcuts": find_shortcuts(parts),
        "notes": parts.notes + parts.warnings + crossing_groups(parts),
    }


def find_label_issues(parts: Parts, reporter: Reporter) -> list[LabelIssue]:
    """The images for which another class is more probable than their label, the largest difference first.

    After confident learning (Northcutt, Jiang and Chuang, 2021), in its simplest form. Cross-validation: each image is
    judged by a model of effort ``fast`` that was trained on the other four folds; exact copies and groups share a
    fold. Classes with a single image or group are not judged. Raises DivergedError, which names the fold.
    """
    images = join(list(parts.images.values()))
    groups = np.concatenate(list(parts.groups.values())) if parts.groups else None
    fold = folds(images, FOLDS, 0, groups)
    probabilities = np.zeros((len(images), len(images.classes)), np.float32)
    for number in range(FOLDS):
        held_out = fold == number
        if held_out.any():
            reporter.log(f"label issues: training on all folds but {number + 1} of {FOLDS} …")
            try:
                probabilities[held_out] = predict_held_out(
                    parts, take_images(images, ~held_out), take_images(images, held_out)
                )
            except DivergedError as error:
                where = f"label issues cannot be found: the model for fold {number + 1} of {FOLDS} diverged"
                fix = "check without --labels"
                raise DivergedError(f"{where} (NaN or infinite loss at step {error.step}): {fix}", error.step) from None
    rows = np.arange(len(images))
    of_label = probabilities[rows, images.labels]
    predicted = probabilities.argmax(axis=1)
    difference = np.where(fold >= 0, probabilities[rows, predicted] - of_label, 0)
    largest_first = np.argsort(-difference, kind="stable")
    return [
        {
            "path": images.names[i],
            "label": images.classes[images.labels[i]],
            "predicted": images.classes[predicted[i]],
            "probability": round(float(probabilities[i, predicted[i]]), 6),
            "label_probability": round(float(of_label[i]), 6),
        }
        for i in largest_first[: int((difference > 0).sum())].tolist()
    ]


def cache_label_issues(data: str, issues: Sequence[LabelIssue]) -> None:
    """Keep label issues beside the decoded pixels, for later trainings on the same data.

    data: a name, or an absolute path. Nothing is kept if the cache folder is not writable, or others may write there.
    """
    path = _cache_path(data)
    with suppress(OSError, RunError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if decoded.refusal(path) is None:
            write_label_issues(path, issues)


def cached_label_issues(data: str) -> list[LabelIssue]:
    """The label issues that were kept of the same data; [] if there are none, or others may have written them."""
    path = _cache_path(data)
    with suppress(RunError):
        return [] if decoded.refusal(path) else read_label_issues(path)
    return []


def _cache_path(data: str) -> Path:
    name = hashlib.sha256(data.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return decoded.cache_folder() / f"suspects-{name}.csv"
