"""``ladder``: one model after the other on one split, from pixel similarity to ResNet-18."""

import time
from pathlib import Path
from typing import TypedDict, Unpack

import numpy as np

from underhood.analysis import balanced_accuracy, fixed_and_broken, wilson_interval
from underhood.core.errors import DataError
from underhood.scratch.similarity import PixelSimilarity
from underhood.training import Reporter, RunLog
from underhood.training.config import TrainConfig, TrainOptions
from underhood.training.recipe import choose_for
from underhood.training.setup import count_parameters, load_config_data, log_data, make_learner
from underhood.training.threads import cpu_threads, pinned_threads


class Rung(TypedDict):
    """A model of the ladder. fixed, broken: images newly right and newly wrong against the rung before."""

    model: str
    valid_accuracy: float
    balanced_accuracy: float
    interval: tuple[float, float]  # 95 %
    parameters: int
    seconds: float  # of training
    fixed: int | None  # None on the first rung
    broken: int | None


class LadderResult(TypedDict):
    """What ``ladder`` returns."""

    data: str
    images: int  # that validate
    rungs: list[Rung]


def ladder(
    data: str | Path = "digits", *, reporter: Reporter | None = None, **options: Unpack[TrainOptions]
) -> LadderResult:
    """Train pixel similarity and each model, from plain to deep, on one split. Leaves no run folder.

    options: the fields of ``TrainConfig``; each model is trained with effort ``fast`` unless another is asked for
    Returns data, images (how many validate) and rungs, each with model, valid_accuracy, balanced_accuracy, interval
    (95 %), parameters, seconds (of training), fixed and broken (None on the first). A model that needs larger images
    is left out. Raises UnderhoodError.
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
    labels = dataset.valid.labels
    predicted = baseline.predict(dataset.valid.pixels)
    right = predicted == labels
    rungs = [_rung("similarity", predicted, labels, None, baseline.class_means.size, seconds)]

    from underhood.analysis.inference import predict_proba
    from underhood.core.models import MODELS
    from underhood.core.schedule import SCHEDULES

    for model in MODELS:
        recipe = choose_for(dataset, config, model)
        try:
            setup = make_learner(loaded, recipe, config)
        except DataError as error:  # the images are too small for this model
            reporter.warn(f"{model} is left out: {error}")
            continue
        reporter.log(f"training {model} …")
        learn, seconds = setup.learn, 0.0
        with cpu_threads(setup, config.threads), pinned_threads(learn):
            for step in learn.steps(recipe.epochs, recipe.lr, SCHEDULES[config.schedule]):
                reporter.on_step(step)
                if step.epoch_end:
                    seconds += learn.end_epoch().seconds
        probabilities = predict_proba(setup.network, dataset.valid.pixels, learn.device)
        before, predicted = right, probabilities.argmax(dim=1).numpy()
        right = predicted == labels
        rungs.append(_rung(model, predicted, labels, before, count_parameters(setup.network), seconds))
    return {"data": str(data), "images": len(dataset.valid), "rungs": rungs}


def _rung(
    model: str, predicted: np.ndarray, labels: np.ndarray, before: np.ndarray | None, parameters: int, seconds: float
) -> Rung:
    right = predicted == labels
    fixed, broken = (None, None) if before is None else fixed_and_broken(before, right)
    return {
        "model": model,
        "valid_accuracy": float(right.mean()),
        "balanced_accuracy": balanced_accuracy(predicted, labels),
        "interval": wilson_interval(int(right.sum()), len(right)),
        "parameters": parameters,
        "seconds": round(seconds, 3),
        "fixed": fixed,
        "broken": broken,
    }
