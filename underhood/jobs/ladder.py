"""``ladder``: one model after the other on one split, from pixel similarity to a backbone."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NotRequired, TypedDict, Unpack, cast

import numpy as np

from underhood.analysis import accuracy_interval, balanced_accuracy, fixed_and_broken, mcnemar
from underhood.core.errors import DataError, DivergedError
from underhood.core.images import Dataset
from underhood.data.read import LoadedData
from underhood.data.split import join
from underhood.scratch.similarity import PixelSimilarity
from underhood.training import Reporter, RunLog
from underhood.training.config import DATA_SETS, ModelName, TrainConfig, TrainOptions
from underhood.training.learning_curve import LearningCurve, curve_operations, learning_curve, measure_counts
from underhood.training.recipe import choose_for
from underhood.training.setup import count_parameters, load_config_data, log_data, make_learner, why_no_backbone
from underhood.training.threads import cpu_threads, pinned_threads

if TYPE_CHECKING:
    from underhood.training.folds import CrossValidation
    from underhood.training.learners import Setup

BACKBONE: ModelName = "efficientnet_lite0"
MOST_FOR_BACKBONE = 5000  # training images


class Rung(TypedDict):
    """A model of the ladder. fixed, broken: images newly right and newly wrong against the rung before."""

    model: str  # its name; frozen, tuned: the backbone
    valid_accuracy: float
    balanced_accuracy: float
    interval: tuple[float, float]  # 95 %
    parameters: int
    seconds: float  # of training, with the features of a backbone
    fixed: int | None  # None on the first rung
    broken: int | None
    p_value: float | None  # of McNemar's exact test: are this model and the one before equally accurate?
    folds: NotRequired["CrossValidation | None"]  # with --folds; None where it cannot be cross-validated


class LadderResult(TypedDict):
    """What ``ladder`` returns."""

    data: str
    images: int  # that validate
    rungs: list[Rung]
    learning_curve: LearningCurve | None  # of the most accurate model


def ladder(
    data: str | Path = "digits", *, reporter: Reporter | None = None, **options: Unpack[TrainOptions]
) -> LadderResult:
    """Train pixel similarity and each model, from plain to deep, on one split. Leaves no run folder.

    options: the fields of ``TrainConfig``; each model is trained with effort ``fast`` unless another is asked for
    The last rungs are a backbone, frozen and tuned, where there are at most 5,000 training images that it can take.
    A model that needs larger images is left out.
    Returns data, images (how many validate), rungs, each with model, valid_accuracy, balanced_accuracy, interval
    (95 %), parameters, seconds (of training), fixed, broken and p_value (of McNemar's exact test; None on the first),
    with --folds also folds (cross-validation: count, images, accuracy, interval, accuracies, groups);
    and learning_curve, of the most accurate model: model, points (images, valid_accuracy, interval), more_per_class,
    gain, gain_interval (95 %) and sentence; None where there are too few images. Raises UnderhoodError.
    """
    reporter = reporter or Reporter()
    defaults: TrainOptions = {"effort": "fast"}
    config = TrainConfig(data, **(defaults | options))
    loaded = load_config_data(config, None, reporter)
    dataset = loaded.dataset
    log_data(loaded, RunLog(reporter))
    start = time.perf_counter()
    baseline = PixelSimilarity().fit(dataset.train)
    seconds = time.perf_counter() - start
    predicted = baseline.predict(dataset.valid.pixels)
    right = predicted == dataset.valid.labels
    rungs = [_rung("similarity", predicted, loaded, None, baseline.class_means.size, seconds)]
    _cross_validate(rungs[0], loaded, None, config, reporter)
    best: tuple[tuple[int, float], str, Setup, TrainConfig] | None = None  # with the number right, and minus its cost
    for name, these, asked in _models(loaded, config, reporter):
        reporter.log(f"training {name} …")
        start = time.perf_counter()
        try:
            setup = make_learner(these, choose_for(these.dataset, asked, asked.model), asked)
        except DataError as error:  # the images are too small for this model
            reporter.warn(f"{name} is left out: {error}")
            continue
        seconds = time.perf_counter() - start if these is not loaded else 0.0
        predicted, trained = _train(setup, asked, reporter)
        before, right = right, predicted == dataset.valid.labels
        parameters = count_parameters(setup.network)
        rungs.append(_rung(name, predicted, loaded, before, parameters, seconds + trained))
        _cross_validate(rungs[-1], these, setup, asked, reporter)
        score = int(right.sum()), -curve_operations(setup, asked)
        if best is None or score > best[0]:
            best = score, name, setup, asked
    curve = None if best is None else _learning_curve(best[1], best[2], best[3], best[0][0], reporter)
    return {"data": str(data), "images": len(dataset.valid), "rungs": rungs, "learning_curve": curve}


def _models(
    loaded: LoadedData, config: TrainConfig, reporter: Reporter
) -> Iterator[tuple[str, LoadedData, TrainConfig]]:
    """Each model's name, its images and its options. A backbone has the same images, at a size of its own."""
    from underhood.core.models import MODELS

    for model in MODELS:
        yield model, loaded, replace(config, model=cast("ModelName", model), tune="none", weights=None)
    reason = _no_backbone(config, len(loaded.dataset.train))
    if reason:
        reporter.log(f"frozen and tuned are left out: {reason}")
        return
    frozen = replace(config, model=BACKBONE, tune="head")
    these = _split_like(load_config_data(frozen, None, reporter), loaded.dataset)
    reporter.log(f"{BACKBONE}, frozen and tuned: {these.preparation.describe()}")
    yield "frozen", these, frozen
    yield "tuned", these, replace(frozen, tune="all")


def _no_backbone(config: TrainConfig, count: int) -> str:
    """Why the ladder has no backbone; empty where it has one. count: training images."""
    if str(config.data) in DATA_SETS:
        return f"{config.data} shows no photographs"
    if count > MOST_FOR_BACKBONE:
        return f"{count:,} training images would take long, {MOST_FOR_BACKBONE:,} are the most (--limit)"
    return why_no_backbone(config)


def _split_like(loaded: LoadedData, dataset: Dataset) -> LoadedData:
    """The same images, held out as in a data set of another size: copies, which stay together, depend on the pixels."""
    own = loaded.dataset
    parts = {"train": dataset.train.names, "valid": dataset.valid.names}
    if all(list(own.parts[part].names) == list(names) for part, names in parts.items()):
        return loaded
    images = join([own.train, own.valid])
    row = {name: i for i, name in enumerate(images.names)}
    rows = {part: np.array([row[name] for name in names]) for part, names in parts.items()}
    groups = {}
    if loaded.groups:
        both = np.concatenate([loaded.groups[part] for part in parts])
        groups = {part: both[rows[part]] for part in parts}
    train, valid = (images.take(rows[part]) for part in parts)
    return replace(loaded, dataset=replace(own, train=train, valid=valid), groups=groups)


def _train(setup: "Setup", config: TrainConfig, reporter: Reporter) -> tuple[np.ndarray, float]:
    """Train; returns the predicted labels of the validation images, int64 [n], and the seconds of training."""
    from underhood.core.schedule import SCHEDULES

    learn, recipe, seconds = setup.learn, setup.recipe, 0.0
    with cpu_threads(setup, config.threads), pinned_threads(learn):
        for step in learn.steps(recipe.epochs, recipe.lr, SCHEDULES[config.schedule]):
            reporter.on_step(step)
            if step.epoch_end:
                seconds += learn.end_epoch().seconds
    outputs, _ = learn.get_preds()
    return outputs.argmax(dim=1).numpy(), seconds


def _cross_validate(
    rung: Rung, loaded: LoadedData, setup: "Setup | None", config: TrainConfig, reporter: Reporter
) -> None:  # fmt: skip
    """Add the cross-validation of a model, where folds are asked for. setup: None for pixel similarity"""
    if config.folds is None:
        return
    from underhood.training.folds import cross_validate, similarity_folds

    if setup is None:
        rung["folds"] = similarity_folds(loaded, config)
    else:
        with cpu_threads(setup, config.threads):
            rung["folds"] = cross_validate(setup, config, RunLog(reporter))


def _learning_curve(
    name: str, setup: "Setup", config: TrainConfig, correct: int, reporter: Reporter
) -> LearningCurve | None:
    """The learning curve of a trained model. correct: validation images that it predicts right."""
    reporter.log(f"training {name} on a quarter and on a half of the images …")
    dataset = setup.loaded.dataset
    try:
        with cpu_threads(setup, config.threads):
            counts = measure_counts(setup, config, correct, reporter)
    except DivergedError as error:
        reporter.warn(f"no learning curve: with fewer images, {error}")
        return None
    return learning_curve(name, counts, len(dataset.valid), len(dataset.classes))


def _rung(
    model: str, predicted: np.ndarray, loaded: LoadedData, before: np.ndarray | None, parameters: int, seconds: float
) -> Rung:
    labels = loaded.dataset.valid.labels
    right = predicted == labels
    fixed, broken = (None, None) if before is None else fixed_and_broken(before, right)
    return {
        "model": model,
        "valid_accuracy": float(right.mean()),
        "balanced_accuracy": balanced_accuracy(predicted, labels),
        "interval": accuracy_interval(right, loaded.groups.get("valid")),
        "parameters": parameters,
        "seconds": round(seconds, 3),
        "fixed": fixed,
        "broken": broken,
        "p_value": None if fixed is None or broken is None else mcnemar(fixed, broken),
    }
