"""``predictions.csv``: what a run says of each validation image."""

import re
from pathlib import Path

import numpy as np

from underhood.analysis import cross_entropy_per_image
from underhood.analysis.calibration import Answers
from underhood.core.images import Images
from underhood.data.files import read_csv
from underhood.runs import write_csv

FIRST_COLUMNS = ["path", "label", "predicted", "probability", "loss"]  # all that older runs have
PREDICTION_COLUMNS = [
    *FIRST_COLUMNS, "uncalibrated_probability", "uncalibrated_loss", "calibrates", "set", "rejected", "reason",
]  # fmt: skip


def write_predictions(
    folder: Path, images: Images, said: Answers, uncalibrated: np.ndarray, calibrates: np.ndarray
) -> None:
    """Write ``predictions.csv``, a row for each validation image. Raises RunError.

    uncalibrated: probabilities at temperature 1, float32 [n, classes]; calibrates: whether an image is one of those
    that the calibration was fitted on, bool [n]
    """
    classes, labels = images.classes, images.labels
    loss, before = (cross_entropy_per_image(values, labels) for values in (said.probabilities, uncalibrated))
    predicted = said.probabilities.argmax(axis=1)
    numbers = [said.probabilities.max(axis=1), loss, uncalibrated.max(axis=1), before]
    texts = [[f"{value:.6f}" for value in column.tolist()] for column in numbers]
    names = [[classes[i] for i in column.tolist()] for column in (labels, predicted)]
    sets = [""] * len(labels)
    if said.sets is not None:
        pairs = zip(said.sets, said.probabilities, strict=True)
        sets = [set_text(labels_of(row, one, classes)) for row, one in pairs]
    halves = [str(int(one)) for one in calibrates.tolist()]
    rejected = [str(int(reason != "")) for reason in said.reasons]
    rows = zip(images.names, *names, *texts, halves, sets, rejected, said.reasons, strict=True)
    write_csv(folder / "predictions.csv", PREDICTION_COLUMNS, rows)


def labels_of(one: np.ndarray, probabilities: np.ndarray, classes: tuple[str, ...]) -> list[str]:
    """The labels of a set, bool [classes], most probable first. probabilities: float [classes]"""
    order = np.argsort(-probabilities, kind="stable").tolist()
    return [classes[i] for i in order if one[i]]


def set_text(labels: list[str]) -> str:
    """A set of labels in one cell of a table: ``cat|dog``. A ``|`` or backslash in a name has a backslash before it."""
    return "|".join(re.sub(r"([|\\])", r"\\\1", label) for label in labels)


def read_sets(texts: list[str], classes: tuple[str, ...]) -> np.ndarray:
    """The sets that ``set_text`` wrote: bool [n, classes]. Raises ValueError for a label that is no class."""
    index = {name: i for i, name in enumerate(classes)}
    sets = np.zeros((len(texts), len(classes)), bool)
    for row, text in enumerate(texts):
        for piece in re.findall(r"(?:[^|\\]|\\.)+", text, re.DOTALL):
            label = re.sub(r"\\(.)", r"\1", piece, flags=re.DOTALL)
            if label not in index:
                raise ValueError(f"set has {label[:40]!r}, which is no class")
            sets[row, index[label]] = True
    return sets


def read_predictions(path: Path) -> list[dict[str, str]]:
    """The rows of a ``predictions.csv``, column → text; older runs have only the first columns.

    Raises OSError, ValueError.
    """
    try:
        return read_csv(path, PREDICTION_COLUMNS)
    except ValueError as error:
        if "expected the columns" not in str(error):
            raise
        return read_csv(path, FIRST_COLUMNS)
