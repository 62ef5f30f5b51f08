"""``train`` and ``ladder``: from labelled pictures to trained, measured models.

torch is imported only after the pictures are read, so that bad input is refused at once.
"""

import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from underhood.data.images import Dataset, Images
from underhood.data.named import NAMES
from underhood.data.prepare import FITS
from underhood.data.read import read
from underhood.errors import RunError, UnderhoodError, UnknownNameError
from underhood.jobs.log import Log
from underhood.listener import Listener
from underhood.names import BALANCES, DEVICES, EFFORTS, MODELS, OPTIMIZERS, PRECISIONS, SCHEDULES
from underhood.paths import expanded
from underhood.runs import run as runs
from underhood.runs.interpret import fixed_and_broken, wilson_interval
from underhood.scratch.similarity import PixelSimilarity

if TYPE_CHECKING:
    from torch import nn

    from underhood.models import Architecture
    from underhood.training.learner import Learner
    from underhood.training.recipe import Recipe

MAX_RATE = 1000.0


def train(
    data: str | Path = "digits",
    *,
    model: str | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    schedule: str = "onecycle",
    optimizer: str = "adamw",
    effort: str = "normal",
    balance: str = "none",
    precision: str = "float32",
    size: int | None = None,
    channels: int | None = None,
    fit: str | None = None,
    valid: float | None = None,
    seed: int = 0,
    device: str = "auto",
    out: str | Path | None = None,
    from_run: str | Path | None = None,
    limit: int | None = None,
    skip_bad: bool = False,
    listener: Listener | None = None,
) -> dict[str, Any]:
    """Train a classifier on labelled pictures and leave a run folder. ``underhood train --help`` has each argument.

    Returns run, data, model, epochs, seconds (training alone, without validation), valid_accuracy, its 95 % interval,
    balanced_accuracy and baseline_accuracy (fractions of the same pictures), test_accuracy where the data has both
    parts, parameters, left_out (paths). Raises UnderhoodError.
    """
    started = time.perf_counter()
    for what, name, known in (
        ("schedule", schedule, SCHEDULES), ("model", model or "conv", MODELS), ("device", device, DEVICES),
        ("fit", fit or "pad", FITS), ("effort", effort, EFFORTS), ("optimizer", optimizer, OPTIMIZERS),
        ("balance", balance, BALANCES), ("precision", precision, PRECISIONS),
    ):  # fmt: skip
        _known(what, name, known)
    if (epochs is not None and epochs < 1) or (batch_size is not None and batch_size < 1):
        raise ValueError("epochs and batch_size must be at least 1")
    if lr is not None and not 0 < lr <= MAX_RATE:
        raise ValueError(f"lr must be a number above 0, at most {MAX_RATE:g}")
    log = Log(listener := listener or Listener())
    label = expanded(data).resolve().name if str(data) not in NAMES else str(data)
    folder = None if out is None else expanded(out)
    runs.require_writable(runs.free_folder(folder, label))  # refuse before the work, not after
    earlier = runs.load_run(expanded(from_run)) if from_run is not None else None

    preparation = None
    if earlier is not None and size is None and channels is None:
        preparation = replace(earlier.preparation, fit=fit or earlier.preparation.fit)
    dataset = read(
        data, size=size, channels=channels, fit=fit or "pad", preparation=preparation, valid=valid, seed=seed,
        limit=limit, skip_bad=skip_bad, progress=listener.reading(), bar=listener.download,
    )  # fmt: skip
    describe(dataset, log)
    baseline = PixelSimilarity().fit(dataset.train).predict(dataset.valid.pixels) == dataset.valid.labels

    from underhood.models import count_parameters
    from underhood.training.metrics import balanced_accuracy
    from underhood.training.recipe import choose
    from underhood.training.schedule import SCHEDULES as schedules

    model = model or (earlier.architecture.model if earlier else None)
    recipe = choose(len(dataset.train), effort, model, epochs)
    recipe = replace(recipe, batch_size=batch_size or recipe.batch_size, lr=lr or recipe.lr)
    learn, architecture = make_learner(
        dataset, recipe, seed, device := choose_device(device), optimizer, balance, precision
    )
    if earlier is not None:
        log.say(start_from(learn.model, earlier, dataset))
    parameters = count_parameters(learn.model)
    log.say(
        f"{recipe.model}, {parameters:,} parameters; {recipe.describe()} ({schedule}, {optimizer}, effort {effort})"
    )

    folder = runs.create_folder(folder, f"{label}-{recipe.model}")
    config = {
        "data": str(data) if str(data) in NAMES else str(expanded(data).resolve()),
        **recipe.as_dict(), "schedule": schedule, "optimizer": optimizer, "effort": effort, "balance": balance,
        "precision": precision, "size": size, "channels": channels, "fit": fit, "valid": valid, "seed": seed,
        "limit": limit, "skip_bad": skip_bad, "device": device,
        "from": None if from_run is None else str(expanded(from_run).resolve()),
    }  # fmt: skip
    runs.write_json(folder / "config.json", config)
    runs.write_json(folder / "environment.json", runs.environment(device))
    runs.write_json(folder / "data.json", data_record(dataset))
    log.open(folder / "log.txt")
    if recipe.augmentation:
        runs.save_contact_sheet(folder / "augmented.png", learn.dls.train)

    seconds, rows = 0.0, []
    header = ["epoch", "train_loss", "valid_loss", *learn.recorder.metric_names]
    for epoch in learn.epochs(recipe.epochs, recipe.lr, schedules[schedule], watch=listener.watch):
        listener.row(epoch)
        rows.append([epoch.epoch, epoch.train_loss, epoch.valid_loss, *epoch.metrics.values()])
        runs.write_csv(folder / "metrics.csv", header, rows)
        log.write(f"epoch {epoch.epoch} took {epoch.seconds:.2f} s of training")
        seconds += epoch.seconds
    runs.save_weights(folder, learn.model, architecture, dataset.classes, dataset.preparation)
    predicted = save_predictions(folder, learn, dataset.valid)
    right = predicted == dataset.valid.labels
    result = {
        "run": str(folder),
        "data": str(data),
        "model": recipe.model,
        "epochs": recipe.epochs,
        "seconds": round(seconds, 3),
        "valid_accuracy": float(right.mean()),
        "interval": wilson_interval(int(right.sum()), len(right)),
        "balanced_accuracy": balanced_accuracy(predicted, dataset.valid.labels),
        "baseline_accuracy": float(baseline.mean()),
        "parameters": parameters,
        "left_out": list(dataset.left_out),
    }
    if dataset.test is not None:
        result["test_accuracy"] = float((predictions(learn, dataset.test) == dataset.test.labels).mean())
    log.write(f"accuracy {result['valid_accuracy']:.4f}; all took {time.perf_counter() - started:.1f} s")
    return result


def ladder(
    data: str | Path = "digits",
    *,
    epochs: int | None = None,
    seed: int = 0,
    listener: Listener | None = None,
    **reading: Any,
) -> dict[str, Any]:
    """Train pixel similarity and each model, plain to deep, on one split, and compare them. Leaves no run folder.

    ``reading``: further arguments of ``underhood.read``. Returns data, images (how many validate) and rungs, each with
    model, valid_accuracy, interval (95 %), parameters, seconds (of training), and how many images it fixed and broke:
    newly right and newly wrong against the rung before (None on the first). Raises UnderhoodError.
    """
    listener = listener or Listener()
    dataset = read(data, seed=seed, progress=listener.reading(), bar=listener.download, **reading)
    describe(dataset, Log(listener))
    start = time.perf_counter()
    baseline = PixelSimilarity().fit(dataset.train)
    seconds = time.perf_counter() - start
    right = baseline.predict(dataset.valid.pixels) == dataset.valid.labels
    rungs = [_rung("similarity", right, None, baseline.ideals.size, seconds)]

    from underhood.models import count_parameters
    from underhood.training.recipe import choose
    from underhood.training.schedule import one_cycle

    for name in MODELS:
        recipe = choose(len(dataset.train), "fast", name, epochs)
        listener.say(f"training {name} …")
        learn, _ = make_learner(dataset, recipe, seed, choose_device("auto"))
        rows = list(learn.epochs(recipe.epochs, recipe.lr, one_cycle, watch=listener.watch))
        before, right = right, predictions(learn, dataset.valid) == dataset.valid.labels
        seconds = sum(row.seconds for row in rows)
        rungs.append(_rung(name, right, before, count_parameters(learn.model), seconds))
    return {"data": str(data), "images": len(dataset.valid), "rungs": rungs}


def _rung(model: str, right: np.ndarray, before: np.ndarray | None, parameters: int, seconds: float) -> dict[str, Any]:
    fixed, broken = (None, None) if before is None else fixed_and_broken(before, right)
    return {
        "model": model,
        "valid_accuracy": float(right.mean()),
        "interval": wilson_interval(int(right.sum()), len(right)),
        "parameters": parameters,
        "seconds": round(seconds, 3),
        "fixed": fixed,
        "broken": broken,
    }


def _known(what: str, name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        raise UnknownNameError(what, name, known)


def describe(dataset: Dataset, log: Log) -> None:
    """Say what was read, what was chosen, and what to look at."""
    counts = ", ".join(f"{len(images):,} {part}" for part, images in dataset.parts.items())
    log.say(f"{dataset.name}: {len(dataset.classes)} classes, {counts}")
    for note in dataset.notes:
        log.say(note)
    for warning in dataset.warnings:
        log.warn(warning)


def choose_device(device: str) -> str:
    """``auto`` is a CUDA GPU where there is one, else the CPU. Raises UnderhoodError for a GPU that is not there."""
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise UnderhoodError("no CUDA GPU is available here: leave --device out or choose --device cpu")
    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device


def make_learner(
    dataset: Dataset,
    recipe: "Recipe",
    seed: int,
    device: str,
    optimizer: str = "adamw",
    balance: str = "none",
    precision: str = "float32",
) -> "tuple[Learner, Architecture]":
    """A learner with fresh weights from the seed; torch's own random state is left as it was."""
    import torch

    from underhood.models import Architecture, build_model
    from underhood.training.learner import Learner
    from underhood.training.loader import DataLoaders
    from underhood.training.losses import cross_entropy
    from underhood.training.optim import OPTIMIZERS as optimizers

    preparation = dataset.preparation
    shape = preparation.channels, preparation.height, preparation.width
    architecture = Architecture(recipe.model, *shape, len(dataset.classes))
    mean, deviation = dataset.train.pixel_statistics()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_model(architecture, mean.tolist(), deviation.tolist())
    labels = dataset.train.labels
    rarity = len(labels) / (len(dataset.classes) * np.bincount(labels))  # 1 where all classes are equally common
    dls = DataLoaders.from_dataset(
        dataset, recipe.batch_size, seed, device, recipe.augmentation, rarity[labels] if balance == "sampler" else None
    )
    weight = torch.tensor(rarity, dtype=torch.float32, device=device) if balance == "weights" else None
    loss = partial(cross_entropy, weight=weight, label_smoothing=recipe.label_smoothing)
    return Learner(dls, network, loss, optimizers[optimizer], device=device, precision=precision), architecture


def start_from(model: "nn.Module", earlier: runs.Run, dataset: Dataset) -> str:
    """Copy another run's weights into a model; the last layer only where the classes are the same.

    Returns a line that says what was done. Raises RunError where the networks differ otherwise.
    """
    own, theirs = model.state_dict(), earlier.model.state_dict()
    last = f"{max(int(name.split('.')[0]) for name in own)}."
    head = {name for name in own if name.startswith(last)} if earlier.classes != dataset.classes else set()
    for name, tensor in own.items():
        if name not in head and (name not in theirs or theirs[name].shape != tensor.shape):
            what = f"{earlier.architecture.model} for {earlier.preparation.describe()}"
            raise RunError(f"{earlier.path} is {what}: leave --model, --size and --channels out to start from it")
    model.load_state_dict({name: own[name] if name in head else theirs[name] for name in own})
    return f"starts from {earlier.path}" + (", with a new last layer: its classes are others" if head else "")


def predictions(learn: "Learner", images: Images) -> np.ndarray:
    """The predicted label of each picture: int64 [n]."""
    return learn.predict(images.pixels).argmax(dim=1).numpy()


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
