"""``--folds``: cross-validated accuracy, with an interval that respects groups.

The training images are divided into folds. Each is predicted by a model that was trained, with the run's own recipe, on
all others. A group, and copies of an image, are in one fold, and so are each class's images in all folds where it has
enough of them. Every training image is tested once, where a validation part tests a fifth of them.

Images of a group are right or wrong together, so that a thousand images of ten patients say little more than ten do.
The interval is E. B. Wilson's for as many independent images as the groups are worth (E. L. Korn and B. I. Graubard,
1998): their number divided by how much more the groups vary than independent images would. It does not contain how
much another sample of training images would change the model.
"""

import copy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

import numpy as np

from underhood.analysis import accuracy_interval
from underhood.core.errors import DivergedError, RunError
from underhood.core.images import Dataset, Images
from underhood.data.cache import take_images
from underhood.data.read import LoadedData
from underhood.data.split import folds, group_copies, image_hashes, link_equal, unite
from underhood.runs import read_rows, write_csv
from underhood.training import RunLog
from underhood.training.config import TrainConfig
from underhood.training.distributed import SINGLE_PROCESS
from underhood.training.learners import Setup

if TYPE_CHECKING:
    from underhood.pretrained import Network

FOLDS_FILE, PREDICTED_FILE = "folds.csv", "fold_predictions.csv"
FOLD_COLUMNS = ("fold", "images", "accuracy")
PREDICTED_COLUMNS = ("fold", "path", "label", "predicted", "group")


class CrossValidation(TypedDict):
    """The accuracy of cross-validation. Its interval, of 95 %, respects groups."""

    count: int  # of folds that hold images
    images: int  # that were tested
    accuracy: float
    interval: tuple[float, float]
    accuracies: list[float]  # of each fold
    groups: int | None  # of tested images; None where there are none
    classes: NotRequired[list[str]]  # that were not tested: they have a single group


Predicted = list[tuple[int, np.ndarray, np.ndarray]]  # (fold, rows int64 [m], predicted labels int64 [m]) of each


def summarise(predicted: Predicted, images: Images, groups: np.ndarray | None) -> CrossValidation:
    """The figures of finished folds. groups: of the images, int64 [n]"""
    rows = np.concatenate([rows for _, rows, _ in predicted])
    right = np.concatenate([guesses for _, _, guesses in predicted]) == images.labels[rows]
    mine = None if groups is None else groups[rows]
    return {
        "count": len(predicted),
        "images": len(rows),
        "accuracy": float(right.mean()),
        "interval": accuracy_interval(right, mine),
        "accuracies": [float((guesses == images.labels[rows]).mean()) for _, rows, guesses in predicted],
        "groups": None if mine is None else len(np.unique(mine)),
    }


def cross_validate(
    setup: Setup, config: TrainConfig, log: RunLog, folder: Path | None = None
) -> CrossValidation | None:  # fmt: skip
    """Cross-validate the setup's recipe on its training images, in ``config.folds`` folds. The setup stays as it is.

    folder: a run folder, which gets ``folds.csv`` and ``fold_predictions.csv``; folds that are there already are not
        trained again
    None, with a warning, where a model diverges or no image can be tested. Raises RunError; InterruptedRunError.
    """
    images, groups = setup.loaded.dataset.train, independent_groups(setup.loaded)
    fold = divide(images, groups, config)
    numbers = np.unique(fold[fold >= 0]).tolist()
    if len(numbers) < 2:
        log.warn("no cross-validation: no class has two different images, or images of two groups")
        return None
    if len(numbers) < (config.folds or 0):
        log.warn(f"{len(numbers)} folds instead of {config.folds}: no class has more different images, or more groups")
    known = {} if folder is None else _read_predicted(folder, images, fold)
    predicted: Predicted = []
    for number in numbers:
        try:
            guesses = known[number] if number in known else _predict_fold(setup, config, fold, number, log, folder)
        except DivergedError as error:
            log.warn(f"no cross-validation: without fold {number + 1}, {error}")
            return None
        predicted.append((number, np.flatnonzero(fold == number), guesses))
        if folder is not None and number not in known:
            _write(folder, predicted, images, groups)
    result = summarise(predicted, images, groups)
    untested = np.bincount(images.labels[fold >= 0], minlength=len(images.classes)) == 0
    if untested.any():
        result["classes"] = [images.classes[label] for label in np.flatnonzero(untested).tolist()]
    log.log(describe(result))
    return result


def cross_validate_run(
    folder: Path | None, setup: Setup, config: TrainConfig, log: RunLog
) -> CrossValidation | None:  # fmt: skip
    """``cross_validate`` in the main process, which has the run folder; the others wait. None in those."""
    validated = None if folder is None else cross_validate(setup, config, log, folder)
    setup.processes.broadcast(None)
    return validated


def divide(images: Images, groups: np.ndarray | None, config: TrainConfig) -> np.ndarray:
    """The fold of each image, int64 [n], from 0 on; −1 for those that are only trained on. groups: int64 [n]"""
    assert config.folds is not None
    return folds(images, config.folds, config.seed, groups)


def independent_groups(loaded: LoadedData) -> np.ndarray | None:
    """The group of each training image, int64 [n], with copies in one. None where the data has no groups."""
    groups, images = loaded.groups.get("train"), loaded.dataset.train
    if groups is None:
        return None
    pairs = zip(link_equal(group_copies(image_hashes(images))), link_equal(groups), strict=True)
    return unite(len(images), *(np.concatenate(ends) for ends in pairs))


def describe(result: CrossValidation) -> str:
    """The result in a line."""
    low, high = result["interval"]
    of = f"{result['images']:,} images" + (f" in {result['groups']:,} groups" if result["groups"] else "")
    line = f"cross-validated on {of}, {result['count']} folds: {result['accuracy']:.2%} ({low:.2%} to {high:.2%})"
    if result.get("classes"):
        line += f"; {', '.join(map(repr, result['classes'][:5]))} not tested: a single group"
    return line.replace("%", " %")


def similarity_folds(loaded: LoadedData, config: TrainConfig) -> CrossValidation | None:
    """``cross_validate`` for pixel similarity."""
    from underhood.scratch.similarity import PixelSimilarity

    images, groups = loaded.dataset.train, independent_groups(loaded)
    fold = divide(images, groups, config)
    predicted: Predicted = []
    for number in np.unique(fold[fold >= 0]).tolist():
        rows = np.flatnonzero(fold == number)
        model = PixelSimilarity().fit(take_images(images, fold != number))
        predicted.append((number, rows, model.predict(images.pixels[rows])))
    return summarise(predicted, images, groups) if len(predicted) > 1 else None


def read_folds(folder: Path) -> CrossValidation | None:
    """The cross-validation of a run, from its ``fold_predictions.csv``; None if it has none.

    Raises RunError if it is damaged.
    """
    path = folder / PREDICTED_FILE
    if not path.is_file():
        return None
    rows = read_rows(path, PREDICTED_COLUMNS)
    try:
        fold = np.array([int(row["fold"]) for row in rows])
        groups = np.array([int(row["group"]) for row in rows]) if rows[0]["group"] else None
    except (ValueError, IndexError) as error:
        raise RunError(f"{path} is damaged ({error}): remove it, and the report leaves this section out") from None
    right = np.array([row["label"] == row["predicted"] for row in rows])
    numbers = np.unique(fold)
    return {
        "count": len(numbers),
        "images": len(rows),
        "accuracy": float(right.mean()),
        "interval": accuracy_interval(right, groups),
        "accuracies": [float(right[fold == number].mean()) for number in numbers],
        "groups": None if groups is None else len(np.unique(groups)),
    }


def folds_section(folder: Path) -> dict[str, Any] | None:
    """What the report shows of the cross-validation of a run: ``sentence`` and ``rows``; None where there is none.

    Raises RunError if its file is damaged.
    """
    result = read_folds(folder)
    if result is None:
        return None
    accuracies = [f"{accuracy:.2%}".replace("%", " %") for accuracy in result["accuracies"]]
    rows = [{"fold": number, "accuracy": text} for number, text in enumerate(accuracies, start=1)]
    sentence = describe(result)
    return {"sentence": f"{sentence[0].upper()}{sentence[1:]}.", "rows": rows}


def _predict_fold(
    setup: Setup, config: TrainConfig, fold: np.ndarray, number: int, log: RunLog, folder: Path | None
) -> np.ndarray:  # fmt: skip
    """The labels that a model predicts for the images of a fold after training on the others: int64 [m]."""
    import torch

    from underhood.core.schedule import SCHEDULES
    from underhood.training.run import stop_signals
    from underhood.training.threads import pinned_threads

    name = f"cross-validation, fold {number + 1} of {fold.max() + 1}"
    with torch.random.fork_rng(devices=[]):  # the run's own random numbers stay as they are
        part = _without(setup, config, fold == number)
        learn, recipe = part.learn, part.recipe
        with pinned_threads(learn), stop_signals(folder) as stop:
            for step in learn.steps(recipe.epochs, recipe.lr, SCHEDULES[config.schedule]):
                log.reporter.progress(name, step.number, step.total)
                if stop.is_set():
                    stop.check()
            outputs, _ = learn.get_preds()
    labels: np.ndarray = outputs.argmax(dim=1).numpy()
    return labels


def _without(setup: Setup, config: TrainConfig, held_out: np.ndarray) -> Setup:
    """The setup with a new learner that is trained without these images, bool [n], and validates on them."""
    from underhood.training.setup import make_learner
    from underhood.training.tune import head_on, reset_head

    dataset = setup.loaded.dataset
    train, test = take_images(dataset.train, ~held_out), take_images(dataset.train, held_out)
    loaded = replace(setup.loaded, dataset=Dataset(dataset.name, train, test), groups={})
    if setup.recipe.tune != "head":
        return make_learner(loaded, setup.recipe, config)
    network: Network = copy.deepcopy(setup.network)
    part = replace(setup, loaded=loaded, network=network, processes=SINGLE_PROCESS)
    reset_head(part)
    features, labels = setup.learn.dls.train.dataset
    rows, tested = np.flatnonzero(~held_out), np.flatnonzero(held_out)
    return head_on(part, (features[rows], labels[rows]), (features[tested], labels[tested]), config)


def _write(folder: Path, predicted: Predicted, images: Images, groups: np.ndarray | None) -> None:
    """Write both files, with the folds that are finished. Raises RunError."""
    classes = images.classes
    rows = [
        [number, images.names[i], classes[images.labels[i]], classes[guess], "" if groups is None else groups[i]]
        for number, rows, guesses in predicted
        for i, guess in zip(rows.tolist(), guesses.tolist(), strict=True)
    ]
    write_csv(folder / PREDICTED_FILE, PREDICTED_COLUMNS, rows)
    accuracies = summarise(predicted, images, groups)["accuracies"]
    lines = zip(predicted, accuracies, strict=True)
    write_csv(folder / FOLDS_FILE, FOLD_COLUMNS, [[one[0], len(one[1]), f"{value:.6f}"] for one, value in lines])


def _read_predicted(folder: Path, images: Images, fold: np.ndarray) -> dict[int, np.ndarray]:
    """The predicted labels of the folds that are finished, int64 [m] each. Folds of other images are left out."""
    path = folder / PREDICTED_FILE
    if not path.is_file():
        return {}
    index = {name: label for label, name in enumerate(images.classes)}
    found: dict[int, list[tuple[str, str, str]]] = {}
    for row in read_rows(path, PREDICTED_COLUMNS):
        if row["fold"].isdecimal():
            found.setdefault(int(row["fold"]), []).append((row["path"], row["label"], row["predicted"]))
    known = {}
    for number, rows in found.items():
        mine = np.flatnonzero(fold == number).tolist()
        same = [(path, label) for path, label, _ in rows] == [
            (images.names[i], images.classes[images.labels[i]]) for i in mine
        ]
        if same and all(guess in index for _, _, guess in rows):
            known[number] = np.array([index[guess] for _, _, guess in rows], np.int64)
    return known
