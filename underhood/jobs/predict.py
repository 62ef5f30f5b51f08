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
    """What a model predicts for one image. rejected: whether the probability is below the threshold."""

    path: str
    label: str
    score: float
    rejected: bool
    top: list[Score]


class PredictResult(TypedDict):
    """What ``predict`` returns."""

    run: str
    predictions: list[Prediction]
    unreadable: dict[str, str]  # path → reason


def predict(
    run: str | Path, paths: str | Path | Sequence[str | Path], *, top: int = 5, reporter: Reporter | None = None
) -> PredictResult:
    """The class of each image: files, folders with every image below them, or ``-`` for standard input.

    run: a run folder, or an exported ``.onnx`` file
    Returns run, predictions (path, label, score: the label's probability, rejected, and top: the ``top`` most probable
    labels with their scores) in the order given, and unreadable (path → reason).
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
    rows: list[Prediction] = []
    if len(pixels):
        labels, probabilities = predictor.predict_pixels(pixels)
        rejected = predictor.rejected(pixels, probabilities).tolist()
        order = np.argsort(-probabilities, axis=1, kind="stable")[:, :top]
        scores = np.take_along_axis(probabilities, order, axis=1).tolist()
        for name, label, is_rejected, places, values in zip(
            names, labels, rejected, order.tolist(), scores, strict=True
        ):
            ranked: list[Score] = [
                {"label": predictor.classes[i], "score": value} for i, value in zip(places, values, strict=True)
            ]
            rows.append({"path": name, "label": label, "score": values[0], "rejected": is_rejected, "top": ranked})
    return {"run": str(run), "predictions": rows, "unreadable": unreadable}


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
