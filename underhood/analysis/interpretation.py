"""``Interpretation``: predictions of labelled images, like fastai's ``ClassificationInterpretation``."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from underhood.analysis import cross_entropy_per_image, require_probabilities
from underhood.analysis.calibration import REASONS
from underhood.analysis.predictions import read_predictions, read_sets
from underhood.core.errors import RunError, UnderhoodError
from underhood.preparation.files import expanduser
from underhood.runs import read_json


@dataclass(frozen=True)
class Mistake:
    """An image, its label and its prediction."""

    index: int  # among the validation images
    name: str
    label: str
    predicted: str
    probability: float  # of the predicted class
    loss: float


@dataclass(frozen=True)
class Confused:
    """A pair of classes: the images of class ``label`` that were predicted as class ``predicted``."""

    label: str
    predicted: str
    count: int
    indices: list[int]
    names: list[str]


@dataclass(frozen=True)
class ConfusionMatrix:
    """How often each class was predicted as each class. NumPy reads it as its counts.

    classes: the names of the rows (labels) and columns (predictions); counts: int64 [classes, classes]
    indices: the images of each cell, ``indices[row][column]``
    """

    classes: tuple[str, ...]
    counts: np.ndarray
    indices: list[list[list[int]]]

    def __array__(self, *options: Any, **more: Any) -> np.ndarray:
        return np.asarray(self.counts, *options, **more)


@dataclass(frozen=True)
class RecordedAnswers:
    """The columns of ``predictions.csv`` that only calibrated runs have.

    uncalibrated_probability, uncalibrated_loss: before the temperature, float64 [n]; calibrates: whether an image is
    one that the calibration was fitted on, bool [n]; sets: bool [n, classes]; reasons: why each is rejected, or ""
    """

    uncalibrated_probability: np.ndarray
    uncalibrated_loss: np.ndarray
    calibrates: np.ndarray
    sets: np.ndarray
    reasons: list[str]


@dataclass(frozen=True)
class Interpretation:
    """Predictions of labelled images.

    classes: in the order of the labels; names: n file names; labels, predicted: int64 [n], indices into classes;
    probability: float64 [n], of the predicted class; loss: float64 [n], −log of the right class's probability
    answers: what a calibrated run says beside; None for a learner, and for older runs
    """

    classes: tuple[str, ...]
    names: list[str]
    labels: np.ndarray
    predicted: np.ndarray
    probability: np.ndarray
    loss: np.ndarray
    answers: "RecordedAnswers | None" = None

    @classmethod
    def from_run(cls, run: str | Path) -> "Interpretation":
        """Of a run's validation images, from its ``predictions.csv``. Raises RunError if that cannot be read."""
        folder = expanduser(run)
        path = folder / "predictions.csv"
        recorded = read_json(folder, "data.json").get("classes")
        if not isinstance(recorded, list):
            raise RunError(f"{folder / 'data.json'} is damaged: classes is no list of names")
        classes = tuple(map(str, recorded))
        index = {name: i for i, name in enumerate(classes)}
        try:
            rows = read_predictions(path)
            if not rows:
                raise ValueError("it has no rows")
            columns = {name: [row[name] for row in rows] for name in rows[0]}
            labels, predicted = (np.array([index[name] for name in columns[key]]) for key in ("label", "predicted"))
            probability, loss = (np.array(columns[key], float) for key in ("probability", "loss"))
            require_probabilities(probability, path)
            if not np.isfinite(loss).all():
                raise ValueError("a loss is NaN or infinite")
            said = _recorded_answers(columns, classes)
            return cls(classes, columns["path"], labels, predicted, probability, loss, said)
        except (OSError, ValueError, KeyError, UnderhoodError) as error:
            raise RunError(f"{path} cannot be read ({error}): finish the run, or train it again") from None

    @classmethod
    def from_learner(cls, learn: Any) -> "Interpretation":
        """Of a learner's validation images, which must be ``Images``."""
        from underhood.analysis.inference import predict_proba

        images = learn.dls.valid.dataset
        probabilities = predict_proba(learn.model, images.pixels, learn.device).numpy().astype(np.float64)
        predicted = probabilities.argmax(axis=1)
        probability = probabilities[np.arange(len(images)), predicted]
        loss = cross_entropy_per_image(probabilities, images.labels)
        return cls(images.classes, list(images.names), images.labels, predicted, probability, loss)

    def __len__(self) -> int:
        return len(self.names)

    def take(self, rows: np.ndarray) -> "Interpretation":
        """The predictions of some images, a mask bool [n], without their answers."""
        names = [name for name, chosen in zip(self.names, rows.tolist(), strict=True) if chosen]
        columns = self.labels[rows], self.predicted[rows], self.probability[rows], self.loss[rows]
        return Interpretation(self.classes, names, *columns)

    def uncalibrated(self) -> "Interpretation":
        """The same predictions before the temperature; these, where there is none."""
        if self.answers is None:
            return self
        before = self.answers
        return replace(self, probability=before.uncalibrated_probability, loss=before.uncalibrated_loss, answers=None)

    @property
    def right(self) -> np.ndarray:
        """Whether each image is classified correctly: bool [n]."""
        return self.labels == self.predicted

    def confusion_matrix(self) -> ConfusionMatrix:
        """How many images of each class (row) were predicted as each class (column), and which."""
        count = len(self.classes)
        indices: list[list[list[int]]] = [[[] for _ in range(count)] for _ in range(count)]
        for i, (label, predicted) in enumerate(zip(self.labels.tolist(), self.predicted.tolist(), strict=True)):
            indices[label][predicted].append(i)
        counts = np.array([[len(cell) for cell in row] for row in indices])
        return ConfusionMatrix(self.classes, counts, indices)

    def top_losses(self, most: int = 9) -> list[Mistake]:
        """The images with the highest loss, highest first."""
        return [self._row(i) for i in np.argsort(-self.loss, kind="stable")[:most].tolist()]

    def most_confused(self, least: int = 1) -> list[Confused]:
        """Pairs of different classes that were confused at least ``least`` times, most often first."""
        matrix = self.confusion_matrix()
        found = []
        for label, predicted in np.argwhere(matrix.counts >= max(1, least)).tolist():
            if label == predicted:
                continue
            indices = matrix.indices[label][predicted]
            names = [self.names[i] for i in indices]
            found.append(Confused(self.classes[label], self.classes[predicted], len(indices), indices, names))
        return sorted(found, key=lambda pair: -pair.count)

    def precision_and_recall(self) -> list[tuple[str, int, float | None, float | None]]:
        """(class, images, precision, recall) of each class.

        Precision is None where the class was never predicted, recall where the class has no images.
        """
        matrix = self.confusion_matrix().counts
        hits, predicted, images = np.diag(matrix).tolist(), matrix.sum(axis=0).tolist(), matrix.sum(axis=1).tolist()
        columns = zip(self.classes, hits, predicted, images, strict=True)
        return [(name, n, hit / p if p else None, hit / n if n else None) for name, hit, p, n in columns]

    def calibration(self, bins: int = 10) -> tuple[list[tuple[float, float, int]], float]:
        """(mean probability, accuracy, images) of each bin that has images, and the expected calibration error.

        That is the mean difference between probability and accuracy over all images (Naeini and others, 2015).
        """
        bin_of = np.minimum((self.probability * bins).astype(int), bins - 1)
        rows = []
        for number in range(bins):
            inside = bin_of == number
            if inside.any():
                rows.append(
                    (float(self.probability[inside].mean()), float(self.right[inside].mean()), int(inside.sum()))
                )
        return rows, sum(abs(probability - accuracy) * n for probability, accuracy, n in rows) / len(self)

    def rejection(self) -> tuple[np.ndarray, np.ndarray]:
        """Accuracy of the rest when the least probable predictions are rejected.

        Returns the fraction rejected, float64 [n], and the accuracy of the rest, float64 [n].
        """
        most_probable_first = np.argsort(-self.probability, kind="stable")
        kept = np.arange(1, len(self) + 1)
        return 1 - kept[::-1] / len(self), (np.cumsum(self.right[most_probable_first]) / kept)[::-1]

    def _row(self, i: int) -> Mistake:
        names = self.classes[self.labels[i]], self.classes[self.predicted[i]]
        return Mistake(i, self.names[i], *names, float(self.probability[i]), float(self.loss[i]))


def _recorded_answers(columns: dict[str, list[str]], classes: tuple[str, ...]) -> RecordedAnswers | None:
    """The columns of calibrated runs; None where a run has none. Raises ValueError where they are damaged."""
    if "set" not in columns:
        return None
    probability, loss = (np.array(columns[f"uncalibrated_{name}"], float) for name in ("probability", "loss"))
    require_probabilities(probability)
    if not np.isfinite(loss).all():
        raise ValueError("an uncalibrated_loss is NaN or infinite")
    if not set(columns["reason"]) <= {*REASONS}:
        raise ValueError(f"reason is none of {', '.join(REASONS[1:])}")
    return RecordedAnswers(
        probability, loss, np.array([text == "1" for text in columns["calibrates"]], bool),
        read_sets(columns["set"], classes), columns["reason"],
    )  # fmt: skip
