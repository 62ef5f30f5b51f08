"""Fit and measure, in a run folder that has its record: what ``train`` and ``resume`` share."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from underhood.analysis.interpretation import wilson_interval
from underhood.core.errors import DivergedError
from underhood.core.images import Images
from underhood.preparation.paths import expanded
from underhood.runs import folder as runs
from underhood.runs.class_means import save_ideals
from underhood.scratch.similarity import PixelSimilarity
from underhood.training.config import Request
from underhood.training.reporter import Listener
from underhood.training.run_log import Log
from underhood.training.setup import Ready, make_learner, start_from
from underhood.training.stop import stopping

if TYPE_CHECKING:
    from torch import Tensor, nn

    from underhood.core.learner import Recorder, Step
    from underhood.training.tracking import Writer

MOST = 0.01  # of the time, for states that are saved as epochs end; those every ``save_every`` come on top


def fit_and_measure(
    folder: Path | None,
    request: Request,
    ready: Ready,
    log: Log,
    listener: Listener,
    started: float,
    seconds: float = 0.0,
) -> dict[str, Any]:
    """seconds: trained before; started: when the command began. Returns what ``train`` does.

    folder: None in all but the first of several processes: they only train, and return {}
    Raises DivergedError, which names the layer; InterruptedRunError; RunError where nothing can be written.
    """
    if folder is None:
        from underhood.core.schedule import SCHEDULES

        for _ in ready.learn.epochs(ready.recipe.epochs, ready.recipe.lr, SCHEDULES[request.schedule]):
            pass
        return {}
    log.open(folder / "log.txt")
    try:
        seconds = fit(folder, request, ready, log, listener, seconds)
    except DivergedError as error:
        raise DivergedError(f"{error}; {_where(folder, request, ready, error.step)}", error.step) from None
    result = measure(folder, ready, request.reject) | {"data": str(request.data), "seconds": round(seconds, 3)}
    if request.report:
        from underhood.reporting.page import write_report

        result["report"] = str(write_report(folder, ready.dataset))
    log.write(f"accuracy {result['valid_accuracy']:.4f}, balanced {result['balanced_accuracy']:.4f}")
    log.write(f"all took {time.perf_counter() - started:.1f} s")
    return result


def fit(folder: Path, request: Request, ready: Ready, log: Log, listener: Listener, seconds: float = 0.0) -> float:
    """Train, writing the state and metrics.csv on the way.

    They are written every ``save_every`` seconds, and as each epoch ends, unless epochs are so short that this would
    take more than ``MOST`` of the time.
    seconds: of training before. Returns the seconds that training took in all. Raises InterruptedRunError.
    """
    import torch

    from underhood.core.schedule import SCHEDULES
    from underhood.runs.checkpoint import save_state
    from underhood.training.layer_stats import look_at
    from underhood.training.tracking import track

    learn, recipe, looks = ready.learn, ready.recipe, ready.looks
    between_looks = max(10, -(-recipe.epochs * len(learn.dls.train) // 100))

    def write_metrics() -> None:
        header = ["epoch", "train_loss", "valid_loss", *learn.recorder.metric_names]
        runs.write_csv(folder / "metrics.csv", header, ([i, *row] for i, row in enumerate(learn.recorder.values)))

    def saved(steps: "Iterator[Step]") -> "Iterator[Step]":
        first = last = began = time.monotonic()
        took = spent = 0.0  # seconds, to save a state, and all of them
        for step in listener.watch(look_at(learn, steps, between_looks, looks)):
            yield step  # whoever takes the steps has done with this one when the next line is reached
            now = time.monotonic()
            if step.last:
                began = now
            cheap = step.last and spent + took <= MOST * (now - first)
            if cheap or now - last >= request.save_every or wish.signal:
                state = learn.state_dict() | {"looks": torch.stack(looks) if looks else torch.empty(0)}
                write_metrics()
                save_state(folder, state, seconds + now - began)
                last = time.monotonic()
                took = last - now
                spent += took
            wish.heed(folder)

    def watched(steps: "Iterator[Step]") -> "Iterator[Step]":
        if open_writer is None:
            return saved(steps)
        # around ``saved``: what an epoch told is written before a state says that the epoch is done
        return ended.enter_context(closing(track(learn, saved(steps), open_writer)))

    open_writer = _tensorboard(folder) if request.track else None
    with stopping() as wish, ExitStack() as ended:
        for epoch in learn.epochs(recipe.epochs, recipe.lr, SCHEDULES[request.schedule], watch=watched):
            listener.row(epoch)
            log.write(f"epoch {epoch.epoch} took {epoch.seconds:.2f} s of training")
            seconds += epoch.seconds
    write_metrics()
    runs.write_csv(folder / "steps.csv", ["step", "train_loss", "lr"], _thinned(learn.recorder))
    _write_looks(folder, learn.model, looks)
    return seconds


def _tensorboard(folder: Path) -> "Callable[[int], Writer]":
    """Opens ``RUN/tensorboard`` to write from a step on; what is there of it and of later ones counts no longer."""
    from underhood.training.events import EventFile

    return lambda first: EventFile(folder / "tensorboard", first)


def _thinned(recorder: "Recorder", most: int = 2000) -> list[tuple[int, float, float]]:
    """(step, loss, rate) of each step; of more than ``most`` the mean of a few at a time, under the last's number."""
    block = -(-len(recorder.losses) // most)
    starts = range(0, len(recorder.losses), block)
    parts = ((recorder.losses[at : at + block], recorder.lrs[at : at + block], at) for at in starts)
    return [(at + len(losses), float(np.mean(losses)), lrs[-1]) for losses, lrs, at in parts]


def _write_looks(folder: Path, model: "nn.Module", looks: "list[Tensor]") -> None:
    """layers.csv: what was seen of each layer, in steps spread over the training; empty where there is nothing."""
    from underhood.training.layer_stats import COLUMNS, layers

    rows = [
        [int(step), layer, *("" if value != value else f"{value:.6g}" for value in values)]
        for look in looks
        for layer, (step, *values) in zip(layers(model), look.tolist(), strict=True)
    ]
    runs.write_csv(folder / "layers.csv", [COLUMNS[0], "layer", *COLUMNS[1:]], rows)


def _where(folder: Path, request: Request, ready: Ready, step: int) -> str:
    """In which layer a loss stopped being a number, found by taking the steps since the last state again."""
    from underhood.core.schedule import SCHEDULES
    from underhood.runs.checkpoint import load_state
    from underhood.training.nan_check import first_not_finite

    recipe = ready.recipe
    learn = make_learner(ready.dataset, recipe, request).learn
    saved = load_state(folder)
    if saved is not None:
        learn.load_state_dict(saved[0])
    elif request.from_run is not None:
        start_from(learn.model, runs.load_run(expanded(request.from_run)), ready.dataset)
    layer = first_not_finite(learn, learn.steps(recipe.epochs, recipe.lr, SCHEDULES[request.schedule]), step)
    state = f"the last good state, of step {saved[0]['taken']:,}, is kept" if saved else "no state was saved before"
    return f"taken again, it is {layer}; {state}"


def measure(folder: Path, ready: Ready, reject: float) -> dict[str, Any]:
    """What the trained model and the baseline reach on the validation pictures; writes the weights and predictions.csv.

    reject: the fraction of the validation pictures of which the model is to be called not sure
    """
    from underhood.core.metrics import balanced_accuracy
    from underhood.core.models import count_parameters

    dataset, learn = ready.dataset, ready.learn
    probabilities = learn.predict(dataset.valid.pixels).numpy()  # [n, classes]
    threshold = threshold_for(probabilities.max(axis=1), reject)
    runs.save_weights(folder, learn.model, ready.architecture, dataset.classes, dataset.preparation, threshold)
    predicted = save_predictions(folder, probabilities, dataset.valid)
    right = predicted == dataset.valid.labels
    similarity = PixelSimilarity().fit(dataset.train)
    save_ideals(folder, similarity.ideals)
    baseline = similarity.predict(dataset.valid.pixels) == dataset.valid.labels
    result = {
        "run": str(folder),
        "model": ready.recipe.model,
        "epochs": ready.recipe.epochs,
        "valid_accuracy": float(right.mean()),
        "interval": wilson_interval(int(right.sum()), len(right)),
        "balanced_accuracy": balanced_accuracy(predicted, dataset.valid.labels),
        "baseline_accuracy": float(baseline.mean()),
        "parameters": count_parameters(learn.model),
        "threshold": threshold,
        "left_out": list(dataset.left_out),
    }
    if dataset.test is not None:
        guesses = learn.predict(dataset.test.pixels).argmax(dim=1).numpy()
        result["test_accuracy"] = float((guesses == dataset.test.labels).mean())
    return result


def threshold_for(sureness: np.ndarray, reject: float) -> float:
    """The probability below which lie as many of these, float [n], as come next to the fraction; 0 for none."""
    count = min(round(reject * len(sureness)), len(sureness) - 1)
    return float(np.sort(sureness)[count]) if count else 0.0


def save_predictions(folder: Path, probabilities: np.ndarray, images: Images) -> np.ndarray:
    """Write ``predictions.csv``, a row for each validation picture; returns the predicted labels: int64 [n].

    probabilities: float32 [n, classes]
    """
    labels, predicted = images.labels, probabilities.argmax(axis=1)
    every = np.arange(len(images))
    losses = 0.0 - np.log(np.maximum(probabilities[every, labels], np.finfo(np.float32).tiny))
    columns = zip(images.names, labels, predicted, probabilities[every, predicted], losses, strict=True)
    rows = [
        [name, images.classes[label], images.classes[guess], f"{probability:.6f}", f"{loss:.6f}"]
        for name, label, guess, probability, loss in columns
    ]
    runs.write_csv(folder / "predictions.csv", ["path", "label", "predicted", "probability", "loss"], rows)
    return predicted
