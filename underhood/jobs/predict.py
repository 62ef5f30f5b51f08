"""``predict``: the class of each image, by a trained run or an exported model."""

import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np

from underhood.core.errors import DataError
from underhood.data.decode import decode_files
from underhood.data.listing import list_image_files
from underhood.preparation import prepare_image
from underhood.preparation.files import BadImageError, expanduser
from underhood.serving import Predictor
from underhood.training import Reporter


class Score(TypedDict):
    """A class and its probability."""

    label: str
    score: float


class Prediction(TypedDict):
    """What a model predicts for one image.

    set: the labels that it may have, most probable first: they hold the right one as often as the run's coverage says;
    None for a run without sets. reason: why it is rejected: ``blank``, ``distance`` or ``confidence``; else None
    """

    path: str
    label: str
    score: float
    set: list[str] | None
    rejected: bool
    reason: str | None
    top: list[Score]


class PredictResult(TypedDict):
    """What ``predict`` returns."""

    run: str
    coverage: float | None  # the fraction of images whose set holds their class
    predictions: list[Prediction]
    unreadable: dict[str, str]  # path → reason


def predict(
    run: str | Path, paths: str | Path | Sequence[str | Path], *, top: int = 5, reporter: Reporter | None = None
) -> PredictResult:
    """The class of each image: files, folders with every image below them, or ``-`` for standard input.

    run: a run folder, or an exported ``.onnx`` file
    Returns run, coverage (of the sets), predictions (path, label, score: the label's probability, set, rejected,
    reason, and top: the ``top`` most probable labels with their scores) in the order given, and unreadable (path →
    reason).
    Raises UnderhoodError where the run cannot be loaded or a folder holds no image.
    """
    predictor = Predictor.load(run)
    files: list[str] = []
    for path in [paths] if isinstance(paths, (str, Path)) else paths:
        place = expanduser(path)
        found = list_image_files(place) if os.path.isdir(place) else [str(place)]  # noqa: PTH112 (never raises)
        if not found:
            raise DataError(f"{place} holds no images")
        files += found
    names, pixels, unreadable = _prepare(files, predictor, reporter or Reporter())
    rows = _predictions(names, pixels, predictor, top) if len(pixels) else []
    coverage = predictor.calibration.coverage if predictor.calibration else None
    return {"run": str(run), "coverage": coverage, "predictions": rows, "unreadable": unreadable}


def _predictions(names: list[str], pixels: np.ndarray, predictor: Predictor, top: int) -> list[Prediction]:
    """What a model predicts for prepared images, uint8 [n, c, h, w]."""
    said, classes = predictor.answers(pixels), predictor.classes
    order = np.argsort(-said.probabilities, axis=1, kind="stable")
    scores = np.take_along_axis(said.probabilities, order, axis=1)[:, :top].tolist()
    rows: list[Prediction] = []
    for i, (name, places, values) in enumerate(zip(names, order.tolist(), scores, strict=True)):
        labels = None if said.sets is None else [classes[k] for k in places if said.sets[i, k]]
        ranked: list[Score] = [
            {"label": classes[k], "score": value} for k, value in zip(places[:top], values, strict=True)
        ]
        reason = said.reasons[i] or None
        rows.append({
            "path": name, "label": classes[places[0]], "score": values[0], "set": labels,
            "rejected": reason is not None, "reason": reason, "top": ranked,
        })  # fmt: skip
    return rows


def _prepare(
    files: list[str], predictor: Predictor, reporter: Reporter
) -> tuple[list[str], np.ndarray, dict[str, str]]:
    """(names, pixels [n, c, h, w], unreadable) of files, of which one may be ``-``."""
    on_disk = [file for file in files if file != "-"]
    decoded = decode_files(on_disk, preparation=predictor.preparation, progress=reporter.read_progress())
    unreadable = decoded.unreadable
    names = [file for file, ok in zip(on_disk, decoded.readable, strict=True) if ok]
    pixels = decoded.pixels
    if "-" in files:
        try:
            content = sys.stdin.buffer.read() if sys.stdin else b""
            from_stdin = prepare_image(io.BytesIO(content), predictor.preparation)
            place = sum(file in names for file in files[: files.index("-")])
            pixels = np.insert(pixels[: len(names)], place, from_stdin, axis=0)
            names.insert(place, "-")
        except BadImageError as bad:
            unreadable = unreadable | {"-": str(bad)}
    return names, pixels, unreadable
