"""``evaluate`` and ``predict``: a trained run meets pictures."""

import io
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from underhood.analysis.interpretation import per_class, wilson_interval
from underhood.core.errors import DataError, RunError, UnreadableError
from underhood.core.images import Images
from underhood.data.decode import decode_files
from underhood.data.folder import picture_files
from underhood.data.named import NAMES
from underhood.data.read import FIFTH, Reading, read, read_parts
from underhood.data.split import hold_out
from underhood.preparation.paths import expanded
from underhood.preparation.prepare import BadPicture, picture_to_pixels
from underhood.runs.folder import Run, load_run, read_config, read_json
from underhood.serving.predictor import Predictor
from underhood.training.reporter import Listener


def evaluate(
    run: str | Path,
    data: str | Path | None = None,
    *,
    skip_bad: bool = False,
    cache: bool = True,
    listener: Listener | None = None,
) -> dict[str, Any]:
    """Measure a run on the pictures it was validated on, or on other labelled pictures, prepared as the run's own.

    Of other DATA its valid part is measured, else its test part, else all of it; classes are matched by name.
    Returns run, data, part, accuracy, interval (95 %), balanced_accuracy, images (how many), per_class (name → images,
    correct, accuracy). Raises UnderhoodError.
    """
    from underhood.core.learner import predict_probabilities
    from underhood.core.metrics import balanced_accuracy

    loaded = load_run(expanded(run))
    config = read_config(loaded.path)
    part, images = pictures_to_measure(loaded, config, data, skip_bad, cache, listener or Listener())
    predicted = predict_probabilities(loaded.model, images.pixels).argmax(dim=1).numpy()
    right = predicted == images.labels
    return {
        "run": str(run),
        "data": str(data or config["data"]),
        "part": part,
        "accuracy": float(right.mean()),
        "interval": wilson_interval(int(right.sum()), len(right)),
        "balanced_accuracy": balanced_accuracy(predicted, images.labels),
        "images": len(images),
        "per_class": per_class(images.labels, predicted, loaded.classes),
    }


def pictures_to_measure(
    run: Run, config: dict[str, Any], data: str | Path | None, skip_bad: bool, cache: bool, listener: Listener
) -> tuple[str, Images]:
    """(which part of DATA, its pictures), with labels as the run counts them; without DATA, what the run validated on.

    Raises UnreadableError where pictures cannot be read and ``skip_bad`` does not leave them out; RunError where the
    run's own data is gone, or has changed, so that another part of it would be measured.
    """
    own = config["data"]
    resolved = data if data is None or str(data) in NAMES else str(expanded(data).resolve())
    if data is None or str(resolved) == own:  # the same split as in training, or training pictures would be measured
        if own not in NAMES and not Path(own).exists():
            raise RunError(
                f"{run.path} was trained on {own}, which is no longer there: bring it back, or evaluate on other DATA"
            )
        dataset = read(
            own, preparation=run.preparation, valid=config.get("valid"), seed=config.get("seed", 0),
            limit=config.get("limit"), skip_bad=skip_bad or config.get("skip_bad", False),
            cache=cache, progress=listener.reading(), bar=listener.download,
        )  # fmt: skip
        if dataset.valid.digest() != _validated_on(run):
            raise RunError(
                f"{own} has changed since {run.path} was trained, so that another part of it would be held out: "
                "evaluate on pictures that the run has not seen, or train again"
            )
        return "valid", _match_classes(dataset.valid, run)
    reading = Reading(preparation=run.preparation, cache=cache, progress=listener.reading(), bar=listener.download)
    parts = read_parts(data, reading)
    if parts.unreadable and not skip_bad:
        raise UnreadableError(parts.unreadable)
    for line in parts.warnings:
        listener.warn(line)
    part = next(name for name in ("valid", "test", "train") if name in parts.images)
    if part == "train" and len(parts.images["train"]):  # the run's own pictures, moved? then those it was validated on
        images = parts.images["train"]
        _, rows = hold_out(images, config.get("valid") or FIFTH, config.get("seed", 0))
        if images.take(rows).digest() == _validated_on(run):
            return "valid", _match_classes(images.take(rows), run)
    return ("all" if part == "train" else part), _match_classes(parts.images[part], run)


def _validated_on(run: Run) -> str | None:
    """The hash of the pictures that the run was validated on."""
    recorded = read_json(run.path, "data.json").get("sha256")
    return recorded.get("valid") if isinstance(recorded, dict) else None


def _match_classes(images: Images, run: Run) -> Images:
    """The same pictures with labels as the run counts them. Raises DataError for a class the run does not know."""
    used = set(np.unique(images.labels).tolist())
    unknown = [name for label, name in enumerate(images.classes) if label in used and name not in run.classes]
    if unknown:
        known = ", ".join(run.classes[:12]) + (" …" if len(run.classes) > 12 else "")
        raise DataError(f"class {unknown[0]!r} is unknown to {run.path}, which knows {known}: rename or remove it")
    if not len(images):
        raise DataError("there are no readable pictures to measure")
    index = np.array([run.classes.index(name) if name in run.classes else -1 for name in images.classes])
    return replace(images, labels=index[images.labels], classes=run.classes)


def predict(
    run: str | Path, paths: str | Path | Sequence[str | Path], *, top: int = 5, listener: Listener | None = None
) -> dict[str, Any]:
    """The class of each picture: files, folders with every picture below them, or ``-`` for standard input.

    run: a run folder, or an exported ``.onnx`` file
    Returns run, predictions (path, label, score: the label's probability, rejected: whether the model is not sure, and
    top: the ``top`` most probable labels with their scores) in the order given, and unreadable (path → reason).
    Raises UnderhoodError where the run cannot be loaded or a folder holds no picture.
    """
    predictor = Predictor.load(run)
    files: list[str] = []
    for path in [paths] if isinstance(paths, (str, Path)) else paths:
        place = expanded(path)
        inside = picture_files(place) if os.path.isdir(place) else [str(place)]  # noqa: PTH112 (never raises)
        if not inside:
            raise DataError(f"{place} holds no pictures")
        files += inside
    names, pixels, unreadable = _prepared(files, predictor, listener or Listener())
    rows: list[dict[str, Any]] = []
    if len(pixels):
        labels, probabilities = predictor.predict_pixels(pixels)
        rejected = predictor.rejected(pixels, probabilities).tolist()
        most = np.argsort(-probabilities, axis=1, kind="stable")[:, :top]
        scores = np.take_along_axis(probabilities, most, axis=1).tolist()
        for name, label, not_sure, places, values in zip(names, labels, rejected, most.tolist(), scores, strict=True):
            ranked = [{"label": predictor.classes[i], "score": value} for i, value in zip(places, values, strict=True)]
            rows.append({"path": name, "label": label, "score": values[0], "rejected": not_sure, "top": ranked})
    return {"run": str(run), "predictions": rows, "unreadable": unreadable}


def _prepared(
    files: list[str], predictor: Predictor, listener: Listener
) -> tuple[list[str], np.ndarray, dict[str, str]]:
    """(names, pixels, unreadable) of files, of which one may be ``-``."""
    on_disk = [file for file in files if file != "-"]
    decoded = decode_files(on_disk, preparation=predictor.preparation, progress=listener.reading())
    unreadable = decoded.unreadable
    names = [file for file, ok in zip(on_disk, decoded.readable, strict=True) if ok]
    pixels = decoded.pixels
    if "-" in files:
        try:
            sent = sys.stdin.buffer.read() if sys.stdin else b""
            from_stdin = picture_to_pixels(io.BytesIO(sent), predictor.preparation)
            place = sum(file in names for file in files[: files.index("-")])
            pixels = np.insert(pixels[: len(names)], place, from_stdin, axis=0)
            names.insert(place, "-")
        except BadPicture as bad:
            unreadable = unreadable | {"-": str(bad)}
    return names, pixels, unreadable
