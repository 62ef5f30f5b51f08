"""``train``: from labelled pictures to a trained, measured model in a run folder."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from underhood.data.images import Dataset, Images
from underhood.jobs.learners import Ready, make_ready
from underhood.jobs.log import Log
from underhood.jobs.request import Request
from underhood.jobs.stopping import alone, stopping
from underhood.listener import Listener
from underhood.paths import expanded
from underhood.runs import run as runs
from underhood.runs.interpret import wilson_interval
from underhood.scratch.similarity import PixelSimilarity

if TYPE_CHECKING:
    from underhood.training.learner import Learner, Step


def train(
    data: str | Path = "digits", *, out: str | Path | None = None, listener: Listener | None = None, **asked: Any
) -> dict[str, Any]:
    """Train a classifier on labelled pictures and leave a run folder.

    asked: further fields of ``Request``, such as model, epochs, lr, seed; ``underhood train --help`` has each
    out: the run folder; without it the next runs/DATA-MODEL-n
    Returns run, data, model, epochs, seconds (training alone, without validation), valid_accuracy, its 95 % interval,
    balanced_accuracy and baseline_accuracy (fractions of the same pictures), test_accuracy where the data has both
    parts, parameters, left_out (paths). Raises UnderhoodError.
    """
    started = time.perf_counter()
    request = Request(data, **asked)
    log = Log(listener := listener or Listener())
    place = None if out is None else expanded(out)
    runs.require_writable(runs.free_folder(place, request.label))  # refuse before the work, not after
    ready = make_ready(request, log, listener)
    folder = runs.create_folder(place, f"{request.label}-{ready.recipe.model}")
    with alone(folder):
        write_record(folder, request, ready)
        return train_in(folder, request, ready, log, listener, started)


def train_in(
    folder: Path, request: Request, ready: Ready, log: Log, listener: Listener, started: float, seconds: float = 0.0
) -> dict[str, Any]:
    """Fit and measure in a run folder that has its record. seconds: trained before. Returns what ``train`` does."""
    log.open(folder / "log.txt")
    seconds = fit(folder, request, ready, log, listener, seconds)
    result = measure(folder, ready) | {"data": str(request.data), "seconds": round(seconds, 3)}
    log.write(f"accuracy {result['valid_accuracy']:.4f}, balanced {result['balanced_accuracy']:.4f}")
    log.write(f"all took {time.perf_counter() - started:.1f} s")
    return result


def write_record(folder: Path, request: Request, ready: Ready) -> None:
    """What is known before the first step: config.json, environment.json, data.json, augmented.png."""
    device = str(ready.learn.device)
    runs.write_json(folder / "config.json", request.as_dict() | ready.recipe.as_dict() | {"device": device})
    runs.write_json(folder / "environment.json", runs.environment(device))
    runs.write_json(folder / "data.json", data_record(ready.dataset))
    if ready.recipe.augmentation:
        runs.save_contact_sheet(folder / "augmented.png", ready.learn.dls.train)


def fit(folder: Path, request: Request, ready: Ready, log: Log, listener: Listener, seconds: float = 0.0) -> float:
    """Train, writing metrics.csv and the state as epochs end, the state also in between, and the weights at the end.

    seconds: of training before. Returns the seconds that training took in all. Raises InterruptedRunError.
    """
    from underhood.runs.state import save_state
    from underhood.training.schedule import SCHEDULES

    learn, recipe = ready.learn, ready.recipe
    header = ["epoch", "train_loss", "valid_loss", *learn.recorder.metric_names]

    def saved(steps: "Iterator[Step]") -> "Iterator[Step]":
        last = began = time.monotonic()
        for step in listener.watch(steps):
            yield step  # whoever takes the steps has done with this one when the next line is reached
            if step.last:
                began = time.monotonic()
            if step.last or wish.signal or time.monotonic() - last >= request.save_every:
                save_state(folder, learn.state_dict(), seconds + time.monotonic() - began)
                last = time.monotonic()
            wish.heed(folder)

    with stopping() as wish:
        for epoch in learn.epochs(recipe.epochs, recipe.lr, SCHEDULES[request.schedule], watch=saved):
            listener.row(epoch)
            rows = [[number, *values] for number, values in enumerate(learn.recorder.values)]
            runs.write_csv(folder / "metrics.csv", header, rows)
            log.write(f"epoch {epoch.epoch} took {epoch.seconds:.2f} s of training")
            seconds += epoch.seconds
    runs.save_weights(folder, learn.model, ready.architecture, ready.dataset.classes, ready.dataset.preparation)
    return seconds


def measure(folder: Path, ready: Ready) -> dict[str, Any]:
    """What the trained model and the baseline reach on the validation pictures; writes predictions.csv."""
    from underhood.models import count_parameters
    from underhood.training.metrics import balanced_accuracy

    dataset, learn = ready.dataset, ready.learn
    predicted = save_predictions(folder, learn, dataset.valid)
    right = predicted == dataset.valid.labels
    baseline = PixelSimilarity().fit(dataset.train).predict(dataset.valid.pixels) == dataset.valid.labels
    result = {
        "run": str(folder),
        "model": ready.recipe.model,
        "epochs": ready.recipe.epochs,
        "valid_accuracy": float(right.mean()),
        "interval": wilson_interval(int(right.sum()), len(right)),
        "balanced_accuracy": balanced_accuracy(predicted, dataset.valid.labels),
        "baseline_accuracy": float(baseline.mean()),
        "parameters": count_parameters(learn.model),
        "left_out": list(dataset.left_out),
    }
    if dataset.test is not None:
        guesses = learn.predict(dataset.test.pixels).argmax(dim=1).numpy()
        result["test_accuracy"] = float((guesses == dataset.test.labels).mean())
    return result


def save_predictions(folder: Path, learn: "Learner", images: Images) -> np.ndarray:
    """Write ``predictions.csv``, a row for each validation picture; returns the predicted labels: int64 [n]."""
    probabilities = learn.predict(images.pixels).numpy()  # [n, classes]
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


def data_record(dataset: Dataset) -> dict[str, Any]:
    """What ``data.json`` holds."""
    return {
        "name": dataset.name,
        "classes": list(dataset.classes),
        "counts": {part: images.counts() for part, images in dataset.parts.items()},
        "sha256": {part: images.digest() for part, images in dataset.parts.items()},
        "preparation": dataset.preparation.as_dict(),
        "left_out": dataset.left_out,
        "notes": dataset.notes,
        "warnings": dataset.warnings,
    }
