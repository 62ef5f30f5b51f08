"""``evaluate``: measure a trained run on labelled images."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from underhood.analysis import accuracy_interval, balanced_accuracy, per_class
from underhood.core.errors import DataError, RunError, UnderhoodError, UnreadableError
from underhood.core.images import Images
from underhood.data.cache import take_images
from underhood.data.files import short_list
from underhood.data.groups import EACH_ALONE
from underhood.data.named import NAMES
from underhood.data.read import FIFTH, Parts, ReadOptions, load_data, read_parts
from underhood.data.split import digest, hold_out
from underhood.preparation.files import expanduser
from underhood.runs import read_json
from underhood.runs.checkpoint import Run, load_run
from underhood.runs.folder import read_config
from underhood.training import Reporter


class EvaluateResult(TypedDict):
    """What ``evaluate`` returns."""

    run: str
    data: str
    part: str  # valid, test or all
    accuracy: float
    interval: tuple[float, float]  # 95 %, see accuracy_interval
    balanced_accuracy: float
    images: int
    per_class: dict[str, dict[str, Any]]  # name → images, correct, accuracy


def evaluate(
    run: str | Path,
    data: str | Path | None = None,
    *,
    skip_bad: bool = False,
    cache: bool = True,
    verify_cache: bool = False,
    reporter: Reporter | None = None,
) -> EvaluateResult:
    """Measure a run on its validation images, or on other labelled images, prepared like the run's own.

    Of other DATA the validation part is measured, else the test part, else all of it; classes are matched by name.
    Returns run, data, part, accuracy, interval (95 %), balanced_accuracy, images (how many), per_class (name → images,
    correct, accuracy). Raises UnderhoodError.
    """
    from underhood.analysis.inference import predict_proba

    loaded = load_run(expanduser(run))
    config = read_config(loaded.path)
    part, images, groups = evaluation_images(
        loaded, config, data, skip_bad, cache, reporter or Reporter(), verify_cache
    )
    try:
        predicted = predict_proba(loaded.model, images.pixels).argmax(dim=1).numpy()
    except UnderhoodError as error:
        raise RunError(f"{loaded.path}: {error}") from None
    right = predicted == images.labels
    return {
        "run": str(run),
        "data": str(data or config["data"]),
        "part": part,
        "accuracy": float(right.mean()),
        "interval": accuracy_interval(right, groups),
        "balanced_accuracy": balanced_accuracy(predicted, images.labels),
        "images": len(images),
        "per_class": per_class(images.labels, predicted, loaded.classes),
    }


def evaluation_images(
    run: Run,
    config: dict[str, Any],
    data: str | Path | None,
    skip_bad: bool,
    cache: bool,
    reporter: Reporter,
    verify_cache: bool = False,
) -> tuple[str, Images, np.ndarray | None]:
    """Which part of DATA is measured, its images with the run's labels, and their groups, int64 [n] or None.

    Without DATA, the run's validation images.

    Raises UnreadableError where images cannot be read and ``skip_bad`` does not leave them out; RunError where the
    run's own data is gone, or has changed, so that another part of it would be measured.
    """
    own = config["data"]
    resolved = data if data is None or str(data) in NAMES else str(expanduser(data).resolve())
    if data is None or str(resolved) == own:  # the same split as in training, or training images would be measured
        return "valid", *_own_validation_images(run, config, skip_bad, cache, reporter, verify_cache)
    options = ReadOptions(
        preparation=run.preparation, cache=cache, verify_cache=verify_cache,
        progress=reporter.read_progress(), bar=reporter.download,
    )  # fmt: skip
    parts = _read_other(data, options, config)
    if parts.unreadable and not skip_bad:
        raise UnreadableError(parts.unreadable)
    for line in parts.warnings:
        reporter.warn(line)
    part = next(name for name in ("valid", "test", "train") if name in parts.images)
    images = parts.images[part]
    held = _held_out(run, config, parts) if part == "train" else None
    if held is not None:  # the run's own images, moved elsewhere
        return "valid", _match_classes(held[0], run), held[1]
    return ("all" if part == "train" else part), _match_classes(images, run), parts.groups.get(part)


def _held_out(run: Run, config: dict[str, Any], parts: Parts) -> tuple[Images, np.ndarray | None] | None:
    """The run's validation images and their groups, where these are the run's images; None where they are others."""
    images = parts.images["train"]
    if not len(images):
        return None
    for groups in [*parts.groups.values(), None]:  # an earlier run's are in no groups, whatever is found now
        _, rows = hold_out(images, config.get("valid") or FIFTH, config.get("seed", 0), groups)
        held = take_images(images, rows)
        if digest(held) == _validated_on(run):
            return held, None if groups is None else groups[rows]
    return None


def _read_other(data: str | Path, options: ReadOptions, config: dict[str, Any]) -> Parts:
    """Images that may be the run's own, moved elsewhere: in its groups where its pattern matches their names."""
    with suppress(DataError, TypeError):
        if config.get("group_by") is not None:
            return read_parts(data, replace(options, group_by=config["group_by"]))
    return read_parts(data, options)


def _pattern(run: Run, config: dict[str, Any]) -> str | None:
    """The option ``group_by`` of a run, see ``stored_config``. Raises RunError where it is no text."""
    pattern = config.get("group_by", EACH_ALONE)
    if pattern is None or isinstance(pattern, str):
        return pattern
    raise RunError(f"{run.path / 'config.json'} is damaged: group_by is {pattern!r}")


def _own_validation_images(
    run: Run, config: dict[str, Any], skip_bad: bool, cache: bool, reporter: Reporter, verify_cache: bool
) -> tuple[Images, np.ndarray | None]:
    own = config["data"]
    if own not in NAMES and not Path(own).exists():
        raise RunError(
            f"{run.path} was trained on {own}, which is no longer there: restore it, or evaluate on other DATA"
        )
    loaded = load_data(
        own, preparation=run.preparation, valid=config.get("valid"), seed=config.get("seed", 0),
        limit=config.get("limit"), skip_bad=skip_bad or config.get("skip_bad", False),
        cache=cache, verify_cache=verify_cache, progress=reporter.read_progress(), bar=reporter.download,
        group_by=_pattern(run, config),
    )  # fmt: skip
    if digest(loaded.dataset.valid) != _validated_on(run):
        raise RunError(
            f"{own} has changed since {run.path} was trained, so that other images would be held out: "
            "evaluate on images that the run has not seen, or train again"
        )
    return _match_classes(loaded.dataset.valid, run), loaded.groups.get("valid")


def _validated_on(run: Run) -> str | None:
    """The hash of the images that the run was validated on."""
    recorded = read_json(run.path, "data.json").get("sha256")
    return recorded.get("valid") if isinstance(recorded, dict) else None


def _match_classes(images: Images, run: Run) -> Images:
    """The same images with the run's labels. Raises DataError for a class that the run does not know."""
    used = set(np.unique(images.labels).tolist())
    unknown = [name for label, name in enumerate(images.classes) if label in used and name not in run.classes]
    if unknown:
        known = short_list(run.classes, 12, ", ")
        raise DataError(f"class {unknown[0]!r} is unknown to {run.path}, which knows {known}: rename or remove it")
    if not len(images):
        raise DataError("there are no readable images to measure")
    index = np.array([run.classes.index(name) if name in run.classes else -1 for name in images.classes])
    return replace(images, labels=index[images.labels], classes=run.classes)
