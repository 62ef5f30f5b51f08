"""What predictions say: intervals, classes, mistakes, how sure a model may be, and where two models differ."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from underhood.core.errors import RunError

COLUMNS = ["path", "label", "predicted", "probability", "loss"]


@dataclass(frozen=True)
class Mistake:
    """A picture and what a model says of it."""

    index: int  # among the validation pictures
    name: str
    label: str
    predicted: str
    probability: float  # of what was predicted
    loss: float


@dataclass(frozen=True)
class Confused:
    """Two classes, how often the first was taken for the second, and in which pictures."""

    label: str
    predicted: str
    count: int
    indices: list[int]
    names: list[str]


@dataclass(frozen=True)
class ConfusionMatrix:
    """What is taken for what. NumPy takes it as its counts.

    classes: the names of rows (what is true) and columns (what was predicted); counts: int64 [classes, classes]
    indices: of row, of column, which pictures those are
    """

    classes: tuple[str, ...]
    counts: np.ndarray
    indices: list[list[list[int]]]

    def __array__(self, *options: Any, **more: Any) -> np.ndarray:
        return np.asarray(self.counts, *options, **more)


@dataclass(frozen=True)
class Interpretation:
    """What a model says of labelled pictures, as fastai's ``ClassificationInterpretation`` has it.

    classes: in the order of labels; names: n file names; labels, predicted: int64 [n], indices into classes;
    probability: float64 [n], of the predicted class; loss: float64 [n], −log of the right class's probability
    """

    classes: tuple[str, ...]
    names: list[str]
    labels: np.ndarray
    predicted: np.ndarray
    probability: np.ndarray
    loss: np.ndarray

    @classmethod
    def from_run(cls, run: str | Path) -> "Interpretation":
        """Of a run's validation pictures, as its ``predictions.csv`` has them. Raises RunError."""
        from underhood.runs.folder import read_json

        folder = Path(run).expanduser()
        path = folder / "predictions.csv"
        classes = tuple(map(str, read_json(folder, "data.json").get("classes") or ()))
        index = {name: i for i, name in enumerate(classes)}
        try:
            with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
                header, *rows = csv.reader(file)
            if header != COLUMNS or not rows:
                raise ValueError(f"expected rows of {', '.join(COLUMNS)}")
            names, labels, predicted, probability, loss = zip(*rows, strict=True)
            return cls(
                classes, list(names), np.array([index[label] for label in labels]),
                np.array([index[guess] for guess in predicted]), np.array(probability, float), np.array(loss, float),
            )  # fmt: skip
        except (OSError, ValueError, KeyError, csv.Error) as error:
            raise RunError(f"{path} cannot be read ({error}): finish the run, or train it again") from None

    @classmethod
    def from_learner(cls, learn: Any) -> "Interpretation":
        """Of a learner's validation part, which must be ``Images``."""
        images = learn.dls.valid.dataset
        probabilities = learn.predict(images.pixels).numpy().astype(np.float64)
        every = np.arange(len(images))
        guess = probabilities.argmax(axis=1)
        loss = -np.log(np.maximum(probabilities[every, images.labels], np.finfo(np.float32).tiny))
        return cls(images.classes, list(images.names), images.labels, guess, probabilities[every, guess], loss)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def right(self) -> np.ndarray:
        """Which pictures are told their class: bool [n]."""
        return self.labels == self.predicted

    def confusion_matrix(self) -> ConfusionMatrix:
        """How many pictures of each class (row) were taken for each class (column), and which."""
        count = len(self.classes)
        indices: list[list[list[int]]] = [[[] for _ in range(count)] for _ in range(count)]
        for i, (label, guess) in enumerate(zip(self.labels.tolist(), self.predicted.tolist(), strict=True)):
            indices[label][guess].append(i)
        counts = np.array([[len(cell) for cell in row] for row in indices])
        return ConfusionMatrix(self.classes, counts, indices)

    def top_losses(self, most: int = 9) -> list[Mistake]:
        """The pictures that the model is most wrong about, worst first."""
        return [self._row(i) for i in np.argsort(-self.loss, kind="stable")[:most].tolist()]

    def most_confused(self, least: int = 1) -> list[Confused]:
        """Pairs of classes by how often the first was taken for the second, most often first."""
        matrix = self.confusion_matrix()
        found = []
        for label, guess in np.argwhere(matrix.counts >= max(1, least)).tolist():
            if label == guess:
                continue
            indices = matrix.indices[label][guess]
            names = [self.names[i] for i in indices]
            found.append(Confused(self.classes[label], self.classes[guess], len(indices), indices, names))
        return sorted(found, key=lambda pair: -pair.count)

    def precision_and_recall(self) -> list[tuple[str, int, float | None, float | None]]:
        """(class, pictures, precision, recall) of each; None where nothing was predicted, or there is no picture."""
        matrix = self.confusion_matrix().counts
        hits, told, there = np.diag(matrix), matrix.sum(axis=0), matrix.sum(axis=1)
        columns = zip(self.classes, hits.tolist(), told.tolist(), there.tolist(), strict=True)
        return [(name, n, hit / t if t else None, hit / n if n else None) for name, hit, t, n in columns]

    def calibration(self, bins: int = 10) -> tuple[list[tuple[float, float, int]], float]:
        """How sure the model is against how right: (mean probability, accuracy, pictures) of each bin that has any,
        and the expected calibration error, the mean distance of the two over all pictures (Naeini and others, 2015)."""
        place = np.minimum((self.probability * bins).astype(int), bins - 1)
        rows = []
        for number in range(bins):
            mine = place == number
            if mine.any():
                rows.append((float(self.probability[mine].mean()), float(self.right[mine].mean()), int(mine.sum())))
        return rows, sum(abs(sure - right) * n for sure, right, n in rows) / len(self)

    def rejection(self) -> tuple[np.ndarray, np.ndarray]:
        """Accuracy of the rest, if the least sure are rejected: (fraction rejected [n], accuracy [n])."""
        surest_first = np.argsort(-self.probability, kind="stable")
        kept = np.arange(1, len(self) + 1)
        return 1 - kept[::-1] / len(self), (np.cumsum(self.right[surest_first]) / kept)[::-1]

    def _row(self, i: int) -> Mistake:
        told = self.classes[self.labels[i]], self.classes[self.predicted[i]]
        return Mistake(i, self.names[i], *told, float(self.probability[i]), float(self.loss[i]))


def wilson_interval(correct: int, total: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """The 95 % interval of a fraction (E. B. Wilson, 1927): within 0 to 1, and of use near 1, where accuracies are."""
    p, zz = correct / total, z * z
    middle = (p + zz / (2 * total)) / (1 + zz / total)
    half = z / (1 + zz / total) * np.sqrt(p * (1 - p) / total + zz / (4 * total**2))
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))


def mcnemar(fixed: int, broken: int) -> float:
    """How likely so uneven a split is by chance, if both models are equally good (Q. McNemar's test, 1947, exact).

    fixed, broken: pictures that only the second, only the first, tells right. Returns the two-sided p value.
    """
    from scipy.stats import binomtest

    return float(binomtest(fixed, fixed + broken).pvalue) if fixed + broken else 1.0


def per_class(labels: np.ndarray, predicted: np.ndarray, classes: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """For each class that has pictures: how many, how many right, and the fraction. labels, predicted: int [n]."""
    images = np.bincount(labels, minlength=len(classes))
    correct = np.bincount(labels[labels == predicted], minlength=len(classes))
    return {
        name: {"images": int(n), "correct": int(c), "accuracy": float(c / n)}
        for name, n, c in zip(classes, images, correct, strict=True)
        if n
    }


def not_sure(pixels: np.ndarray, probabilities: np.ndarray, threshold: float) -> np.ndarray:
    """Of which pictures, uint8 [n, c, h, w], a model is not sure: bool [n]. Of a blank one it never is.

    probabilities: float [n, classes]; threshold: what the most probable class must reach
    """
    values = pixels.reshape(len(pixels), -1)
    blank = values.min(axis=1) == values.max(axis=1)
    return blank | (probabilities.max(axis=1) < threshold)


def fixed_and_broken(before: np.ndarray, after: np.ndarray) -> tuple[int, int]:
    """Of pictures right or wrong under two models, bool [n] each: how many are newly right, and newly wrong."""
    return int((after & ~before).sum()), int((before & ~after).sum())
