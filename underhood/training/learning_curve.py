"""The learning curve: the accuracy with a quarter, a half and all of the training images, and with more than there are.

The error usually falls by a power of the number of images. That power is fitted to three numbers of images only: the
curve goes no further than twice as many images as there are, and its interval belongs to it.
"""

import copy
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, cast

import numpy as np

from underhood.analysis import wilson_interval
from underhood.analysis.interpretation import Interpretation
from underhood.core.errors import DivergedError, RunError
from underhood.core.images import Images
from underhood.data.read import LoadedData
from underhood.data.split import sample
from underhood.runs import read_rows, write_csv
from underhood.runs.folder import read_config
from underhood.training import Reporter
from underhood.training.candidates import TRAINING, TUNING
from underhood.training.config import TrainConfig
from underhood.training.distributed import SINGLE_PROCESS
from underhood.training.learners import Setup
from underhood.training.recipe import Recipe, choose_for, choose_recipe
from underhood.training.threads import cpu_threads

if TYPE_CHECKING:
    from underhood.pretrained import Network
    from underhood.runs.checkpoint import Run

CURVE_FILE = "learning_curve.csv"
CURVE_COLUMNS = ("images", "valid_accuracy", "low", "high")
PARTS = (0.25, 0.5)  # of the training images, on which the model is trained again
MAX_OPERATIONS = 0.3e12  # multiply-adds of a curve for a report: about four seconds on two cores
MAX_STEPS = 10_000  # of a curve for a report: a step of a small model takes half a millisecond
MAX_IMAGES = 10**9  # that a file may name
LEAST_GAIN = 0.005  # half a point: a smaller gain is none
DRAWS = 4000  # of the errors, for the interval of the gain

Counts = dict[int, int]  # training images → validation images that are then predicted right


class CurvePoint(TypedDict):
    """The accuracy on the validation images after training on so many images."""

    images: int
    valid_accuracy: float
    interval: tuple[float, float]  # 95 %


class LearningCurve(TypedDict):
    """What more training images would gain. gain: of accuracy, from 0 to 1."""

    model: str
    points: list[CurvePoint]
    more_per_class: int
    gain: float
    gain_interval: tuple[float, float]  # 95 %
    sentence: str


def fit_power_law(images: np.ndarray, errors: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(scale, power) of error = scale · images^−power, float [...] each, by least squares of the logarithms.

    images: float [sizes]; errors: float [..., sizes], above 0; weights: of each size, float [sizes]
    The power is from 0 (more images change nothing) to 1 (twice the images, half the errors).
    """
    weights = weights / weights.sum()
    x, y = np.log(images), np.log(errors)
    from_mean = x - weights @ x
    power = np.clip(-(y @ (weights * from_mean)) / (weights @ from_mean**2), 0.0, 1.0)
    return np.exp(y @ weights + power * (weights @ x)), power


def learning_curve(model: str, counts: Counts, total: int, classes: int) -> LearningCurve | None:
    """What the accuracies say of more images; None where there are fewer than three numbers of images.

    counts: training images → correct predictions; total: validation images; classes: their number
    The gain is that of a doubling of the images, rounded down to one digit per class. Its interval comes from how many
    of ``total`` images are wrong by chance (Jeffreys' posterior of each error, seed 0). The errors are drawn
    independently, although the validation images are the same, which makes the interval wider; that another sample of
    training images gives another model is not in it.
    """
    if len(counts) < 1 + len(PARTS):
        return None
    images = np.array(sorted(counts), float)
    wrong = np.array([total - counts[int(size)] for size in images])
    errors = (wrong + 0.5) / (total + 1)
    weights = errors / (1 - errors)  # one over the variance of an error's logarithm
    per_class = images[-1] / classes
    digit = 10 ** int(np.log10(per_class))
    more = int(per_class // digit) * digit
    sizes = np.array([images[-1], images[-1] + more * classes])

    def gained(errors: np.ndarray) -> np.ndarray:  # [..., sizes] → [...]
        scale, power = fit_power_law(images, errors, weights)
        now, then = (scale * size**-power for size in sizes)
        return now - then

    gain = float(gained(errors))
    draws = np.random.default_rng(0).beta(wrong + 0.5, total - wrong + 0.5, (DRAWS, len(wrong)))
    low, high = np.percentile(gained(np.maximum(draws, np.finfo(float).tiny)), (2.5, 97.5)).tolist()
    interval = min(low, gain), max(high, gain)
    return {
        "model": model,
        "points": [_point(int(size), counts[int(size)], total) for size in images],
        "more_per_class": more,
        "gain": gain,
        "gain_interval": interval,
        "sentence": _sentence(more, gain, interval),
    }


def _point(images: int, correct: int, total: int) -> CurvePoint:
    return {"images": images, "valid_accuracy": correct / total, "interval": wilson_interval(correct, total)}


def _sentence(more: int, gain: float, interval: tuple[float, float]) -> str:
    about, low, high = (f"{100 * value:.1f}".removesuffix(".0") for value in (gain, *interval))
    points = f"would gain about {about} point{'s' * (about != '1')} ({low} to {high})"
    if gain < LEAST_GAIN:
        return f"more images would not help: {more:,} more per class {points}"
    if low == "0":
        return f"more images may not help: {more:,} more per class {points}"
    return f"{more:,} more images per class {points}"


def measure_counts(setup: Setup, config: TrainConfig, correct: int, reporter: Reporter) -> Counts:
    """Train the model of a setup again on parts of its training images, each within the next. The setup stays as it is.

    correct: how many validation images are predicted right after training on all of them
    Raises DivergedError.
    """
    from underhood.core.schedule import SCHEDULES

    train = setup.loaded.dataset.train
    counts: Counts = {}
    for size in _sizes(train):
        part = _on_part(setup, config, sample(train.labels, size, config.seed))
        for step in part.learn.steps(part.recipe.epochs, part.recipe.lr, SCHEDULES[config.schedule]):
            reporter.progress(f"learning curve, {size:,} images", step.number, step.total)
        outputs, targets = part.learn.get_preds()
        counts[size] = int((outputs.argmax(dim=1) == targets).sum())
    return counts | {len(train): correct}


def curve_operations(setup: Setup, config: TrainConfig) -> float:
    """Multiply-adds of ``measure_counts``. Those of a last layer on features are not counted: they take no time."""
    from underhood.analysis.inference import multiply_adds

    if setup.recipe.tune == "head":
        return 0.0
    train = setup.loaded.dataset.train
    passes = sum(size * _recipe(setup, config, size).epochs for size in _sizes(train))
    each = multiply_adds(copy.deepcopy(setup.network).cpu(), train.pixels[0])
    return float(each * passes * (TUNING if setup.recipe.tune == "all" else TRAINING))


def write_curve(folder: Path, setup: Setup, config: TrainConfig, accuracy: float, reporter: Reporter) -> None:
    """Measure the learning curve of a trained run, and write its ``learning_curve.csv``, where that takes seconds.

    Left out are runs that started from another one, whose images may be the same, and tuned backbones.
    accuracy: on the validation images, of the model trained on all images. Raises RunError.
    """
    if config.from_run is not None or setup.recipe.tune == "all" or _takes_long(setup, config):
        return
    total = len(setup.loaded.dataset.valid)
    try:
        counts = measure_counts(setup, config, round(accuracy * total), reporter)
    except DivergedError as error:
        reporter.warn(f"no learning curve: with fewer images, {error}")
        return
    points = [_point(size, correct, total) for size, correct in counts.items()]
    rows = [[one["images"], *(f"{value:.6f}" for value in (one["valid_accuracy"], *one["interval"]))] for one in points]
    write_csv(folder / CURVE_FILE, CURVE_COLUMNS, rows)


def read_curve(folder: Path, model: str, total: int, classes: int) -> LearningCurve | None:
    """``learning_curve`` of a run's ``learning_curve.csv``; None if it has none. Raises RunError if it is damaged.

    model: its name; total: validation images; classes: their number
    """
    path = folder / CURVE_FILE
    if not path.is_file():
        return None
    try:
        counts = {}
        for row in read_rows(path, CURVE_COLUMNS):
            size, accuracy = int(row["images"]), float(row["valid_accuracy"])
            if not (classes <= size <= MAX_IMAGES and 0 <= accuracy <= 1):
                raise ValueError(f"an accuracy of {accuracy} with {size} images")
            counts[size] = round(accuracy * total)
    except ValueError as error:
        raise RunError(f"{path} is damaged ({error}): remove it, and the report leaves this section out") from None
    return learning_curve(model, counts, total, classes)


def complete_curve(
    run: "Run", loaded: LoadedData, config: TrainConfig, threads: int | None, reporter: Reporter
) -> None:
    """``write_curve`` of a run that was trained before, from its images and its options. Raises RunError.

    Runs whose recipe is not today's have no learning curve: another version has trained them.
    threads: of the training
    """
    stored = read_config(run.path)
    config = replace(config, device="cpu" if stored.get("device") == "cpu" else "auto")  # a GPU may be gone
    recipe = choose_for(loaded.dataset, config, run.architecture.model)
    if any(stored.get(name) != value for name, value in recipe.as_dict().items()):
        return
    accuracy = float(Interpretation.from_run(run.path).right.mean())
    weights = (run.pretrained or {}).get("sha256")
    setup = Setup(loaded, recipe, run.architecture, cast("Network", run.model), weights=weights)
    with cpu_threads(setup, threads or config.threads):
        if recipe.tune == "head":
            from underhood.training.tune import head_setup

            head_setup(setup, config)
        write_curve(run.path, setup, config, accuracy, reporter)


def _takes_long(setup: Setup, config: TrainConfig) -> bool:
    """Whether the curve is none for a report. Counted, not timed: equal runs have equal files."""
    recipes = {size: _recipe(setup, config, size) for size in _sizes(setup.loaded.dataset.train)}
    steps = sum(recipe.epochs * math.ceil(size / recipe.batch_size) for size, recipe in recipes.items())
    return steps > MAX_STEPS or curve_operations(setup, config) > MAX_OPERATIONS


def _sizes(train: Images) -> list[int]:
    """The numbers of images of the parts; each class has one at least."""
    sizes = {max(len(train.classes), round(part * len(train))) for part in PARTS}
    return sorted(size for size in sizes if size < len(train))


def _on_part(setup: Setup, config: TrainConfig, rows: np.ndarray) -> Setup:
    """The setup for these training images, int64 [m], with a new learner, in this process alone."""
    from underhood.training.setup import make_learner
    from underhood.training.tune import head_on, reset_head

    dataset = setup.loaded.dataset
    loaded = replace(setup.loaded, dataset=replace(dataset, train=dataset.train.take(rows)), groups={})
    recipe = _recipe(setup, config, len(rows))
    if recipe.tune != "head":
        return make_learner(loaded, recipe, config)
    network = copy.deepcopy(setup.network)
    part = replace(setup, loaded=loaded, recipe=recipe, network=network, processes=SINGLE_PROCESS)
    reset_head(part)
    (features, labels), valid = setup.learn.dls.train.dataset, setup.learn.dls.valid.dataset
    return head_on(part, (features[rows], labels[rows]), valid, config)


def _recipe(setup: Setup, config: TrainConfig, size: int) -> Recipe:
    """The setup's recipe with epochs and batches for fewer images, which change as in ``choose_recipe``."""
    recipe, count = setup.recipe, len(setup.loaded.dataset.train)
    fewer, usual = (choose_recipe(n, config.effort, recipe.model, tune=recipe.tune) for n in (size, count))
    epochs = max(1, round(recipe.epochs * fewer.epochs / usual.epochs))
    batch_size = max(1, round(recipe.batch_size * fewer.batch_size / usual.batch_size))
    return replace(recipe, epochs=epochs, batch_size=batch_size)
