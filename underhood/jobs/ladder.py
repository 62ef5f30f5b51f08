"""``ladder``, one model after the other on one split, and ``lr_find``, one rate after the other."""

import time
from pathlib import Path
from typing import Any

import numpy as np

from underhood.analysis.interpretation import fixed_and_broken, wilson_interval
from underhood.core.errors import DataError, RunError
from underhood.preparation.paths import expanded
from underhood.runs.folder import require_writable, write_whole
from underhood.scratch.similarity import PixelSimilarity
from underhood.training.config import Request
from underhood.training.names import MODELS
from underhood.training.reporter import Listener
from underhood.training.run_log import Log
from underhood.training.setup import choose_recipe, describe, make_learner, make_ready, read_requested


def ladder(data: str | Path = "digits", *, listener: Listener | None = None, **asked: Any) -> dict[str, Any]:
    """Train pixel similarity and each model, plain to deep, on one split, and compare them. Leaves no run folder.

    asked: further fields of ``Request``; each model is trained at effort ``fast`` unless another is asked for
    Returns data, images (how many validate) and rungs, each with model, valid_accuracy, balanced_accuracy, interval
    (95 %), parameters, seconds (of training), and how many images it fixed and broke: newly right and newly wrong
    against the rung before (None on the first). A model for which the pictures are too small is left out.
    Raises UnderhoodError.
    """
    listener = listener or Listener()
    request = Request(data, **{"effort": "fast"} | asked)
    dataset = read_requested(request, None, listener)
    describe(dataset, Log(listener))
    start = time.perf_counter()
    baseline = PixelSimilarity().fit(dataset.train)
    seconds = time.perf_counter() - start
    labels = dataset.valid.labels
    predicted = baseline.predict(dataset.valid.pixels)
    right = predicted == labels
    rungs = [_rung("similarity", predicted, labels, None, baseline.ideals.size, seconds)]

    from underhood.core.models import count_parameters
    from underhood.core.schedule import SCHEDULES

    for model in MODELS:
        recipe = choose_recipe(dataset, request, model)
        try:
            learn = make_learner(dataset, recipe, request).learn
        except DataError as error:  # pictures too small for so deep a model
            listener.warn(f"{model} is left out: {error}")
            continue
        listener.say(f"training {model} …")
        rows = list(learn.epochs(recipe.epochs, recipe.lr, SCHEDULES[request.schedule], watch=listener.watch))
        before, predicted = right, learn.predict(dataset.valid.pixels).argmax(dim=1).numpy()
        right = predicted == labels
        seconds = sum(row.seconds for row in rows)
        rungs.append(_rung(model, predicted, labels, before, count_parameters(learn.model), seconds))
    return {"data": str(data), "images": len(dataset.valid), "rungs": rungs}


def _rung(
    model: str, predicted: np.ndarray, labels: np.ndarray, before: np.ndarray | None, parameters: int, seconds: float
) -> dict[str, Any]:
    from underhood.core.metrics import balanced_accuracy

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


def lr_find(
    data: str | Path = "digits",
    *,
    figure: str | Path = "lr-find.png",
    listener: Listener | None = None,
    **asked: Any,
) -> dict[str, Any]:
    """Look for a learning rate by a short training at growing rates, and draw the curve.

    asked: further fields of ``Request``; figure: where the curve is drawn, as PNG
    Returns data, model, suggestion (None where there is no clear minimum), verdict (a line that says why), lrs and
    losses (smoothed), figure. Raises UnderhoodError.
    """
    listener = listener or Listener()
    figure = expanded(figure)
    if figure.is_dir() or not figure.name:
        raise RunError(f"{figure} is a folder: name the picture to draw, such as lr-find.png")
    require_writable(figure.parent)  # refuse before the work, not after
    if not figure.parent.is_dir():
        raise RunError(f"there is no folder {figure.parent}: create it, or draw elsewhere with --out")
    ready = make_ready(Request(data, **asked), Log(listener), listener)

    from underhood.display.figures import rate_curve
    from underhood.training.lr_finder import lr_find as find

    curve = find(ready.learn)
    write_whole(figure, rate_curve(curve.lrs, curve.losses, curve.suggestion))
    return {
        "data": str(data),
        "model": ready.recipe.model,
        "suggestion": curve.suggestion,
        "verdict": curve.verdict,
        "lrs": curve.lrs,
        "losses": curve.losses,
        "figure": str(figure),
    }
