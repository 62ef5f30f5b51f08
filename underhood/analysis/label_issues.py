"""Label issues: images whose label is probably wrong, found by models that were not trained on them.

After confident learning (Northcutt, Jiang and Chuang, 2021), in its simplest form: a label is an issue if another class
is more probable. ``check --labels`` finds issues and keeps them in the cache; a training on the same data copies them
to its run folder, where the report finds them.
"""

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import numpy as np

from underhood.core.errors import DivergedError, RunError
from underhood.core.images import Dataset, Images
from underhood.data import cache
from underhood.data.files import read_csv
from underhood.data.read import LoadedData, Parts
from underhood.data.split import folds, join
from underhood.runs import read_rows, write_csv

if TYPE_CHECKING:
    from underhood.training import Reporter

FOLDS = 5
ISSUES_FILE = "suspects.csv"
ISSUES_COLUMNS = ["path", "label", "predicted", "probability", "label_probability"]


class LabelIssue(TypedDict):
    """An image whose label is less probable than another class."""

    path: str
    label: str
    predicted: str
    probability: float  # of the predicted class
    label_probability: float


def find_label_issues(parts: Parts, reporter: "Reporter") -> list[LabelIssue]:
    """The images for which another class is more probable than their label, the largest difference first.

    Cross-validation: each image is judged by a model of effort ``fast`` that was trained on the other four folds; exact
    copies share a fold. Classes with a single image are not judged. Raises DivergedError, which names the fold.
    """
    images = join(list(parts.images.values()))
    fold = folds(images, FOLDS, seed=0)
    probabilities = np.zeros((len(images), len(images.classes)), np.float32)
    for number in range(FOLDS):
        held_out = fold == number
        if held_out.any():
            reporter.log(f"label issues: training on all folds but {number + 1} of {FOLDS} …")
            try:
                probabilities[held_out] = _judge(parts, images.take(~held_out), images.take(held_out))
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


def _judge(parts: Parts, train: Images, held_out: Images) -> np.ndarray:
    """Probabilities of images by a model that was trained on others: float32 [held out, classes]."""
    from underhood.analysis.inference import predict_proba
    from underhood.core.schedule import one_cycle
    from underhood.training.config import TrainConfig
    from underhood.training.setup import choose_for, make_learner

    config = TrainConfig(effort="fast")
    loaded = LoadedData(Dataset(parts.name, train, held_out), parts.preparation, [], [], {})
    recipe = choose_for(loaded.dataset, config, None)
    learn = make_learner(loaded, recipe, config).learn
    for _ in learn.steps(recipe.epochs, recipe.lr, one_cycle):
        pass
    return predict_proba(learn.model, held_out.pixels, learn.device).numpy()


def cache_label_issues(data: str, issues: Sequence[LabelIssue]) -> None:
    """Keep label issues beside the decoded pixels, for later trainings on the same data.

    data: a name, or an absolute path. Nothing is kept if the cache folder is not writable.
    """
    path = _cache_path(data)
    with suppress(OSError, RunError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_csv(path, ISSUES_COLUMNS, map(_as_row, issues))


def cached_label_issues(data: str) -> list[LabelIssue]:
    """The label issues that were kept of the same data; [] if there are none."""
    with suppress(OSError, ValueError):
        return [_from_row(row) for row in read_csv(_cache_path(data), ISSUES_COLUMNS)]
    return []


def write_label_issues(folder: Path, issues: Sequence[LabelIssue]) -> None:
    """Write a run's ``suspects.csv``; no file if there are no issues."""
    if issues:
        write_csv(folder / ISSUES_FILE, ISSUES_COLUMNS, map(_as_row, issues))


def read_label_issues(folder: Path) -> list[LabelIssue]:
    """The rows of a run's ``suspects.csv``; [] if it has none. Raises RunError if the file is damaged."""
    path = folder / ISSUES_FILE
    if not path.is_file():
        return []
    try:
        return [_from_row(row) for row in read_rows(path, ISSUES_COLUMNS)]
    except ValueError as error:
        raise RunError(f"{path} is damaged ({error}): remove it, and the report leaves this section out") from None


def _as_row(issue: LabelIssue) -> list[str | float]:
    return [issue["path"], issue["label"], issue["predicted"], issue["probability"], issue["label_probability"]]


def _from_row(row: dict[str, str]) -> LabelIssue:
    return {
        "path": row["path"],
        "label": row["label"],
        "predicted": row["predicted"],
        "probability": float(row["probability"]),
        "label_probability": float(row["label_probability"]),
    }


def _cache_path(data: str) -> Path:
    name = hashlib.sha256(data.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return cache.cache_folder() / f"suspects-{name}.csv"
