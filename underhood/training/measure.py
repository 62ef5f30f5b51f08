"""What a trained model is worth: measured on the validation images, and written to the run folder."""

from dataclasses import replace
from pathlib import Path
from typing import NotRequired, TypedDict

import numpy as np

from underhood import analysis
from underhood.analysis.calibration import (
    Answers,
    Measured,
    answers,
    calibration_half,
    fit_calibration,
    images_needed,
    measure_answers,
    softmax,
)
from underhood.analysis.predictions import write_predictions
from underhood.analysis.prototypes import fit_prototypes, training_rows
from underhood.data.read import LoadedData
from underhood.runs.calibration import Calibration, save_calibration
from underhood.runs.checkpoint import last_inputs, save_class_means, save_weights
from underhood.scratch.similarity import PixelSimilarity
from underhood.training.config import TrainConfig
from underhood.training.distributed import SINGLE_PROCESS
from underhood.training.setup import Setup, count_parameters


class TrainResult(TypedDict):
    """What ``train`` returns, as JSON. Accuracies are fractions of the validation images."""

    run: str
    data: NotRequired[str]
    model: str
    epochs: int
    seconds: NotRequired[float]  # of training, without validation
    valid_accuracy: float
    interval: tuple[float, float]  # of valid_accuracy, 95 %; it respects groups
    balanced_accuracy: float
    baseline_accuracy: float  # of pixel similarity
    test_accuracy: NotRequired[float]  # where the data has a test part; without another, it is the one that validates
    parameters: int
    threshold: float  # predictions with a lower probability are rejected
    coverage: float  # the fraction of images whose prediction set is to hold their class
    set_coverage: float | None  # the fraction of images whose set does, of those that the calibration was not fitted on
    set_size: float | None  # the mean number of labels in a set
    rejected: float | None  # the fraction of these images that are rejected
    left_out: list[str]  # paths
    report: NotRequired[str]  # path


def measure(folder: Path, setup: Setup, config: TrainConfig) -> TrainResult:
    """Measure the trained model and the baseline on the validation images, and write the run's results.

    Half of the validation images calibrate the model; what its answers are worth is measured on the other half.
    Writes calibration.safetensors, weights.safetensors, ideals.npy and predictions.csv. Raises RunError.
    """
    from underhood.analysis.inference import predict_proba

    loaded, learn, network = setup.loaded, setup.learn, setup.network
    dataset, labels = loaded.dataset, loaded.dataset.valid.labels
    half = calibration_half(labels, loaded.groups.get("valid"))
    calibration, logits, distances = calibrate(setup, config, half)
    uncalibrated, probabilities = softmax(logits, 1.0), softmax(logits, calibration.temperature)
    analysis.require_probabilities(probabilities)
    said = answers(calibration, dataset.valid.pixels, probabilities, distances)
    threshold = calibration.threshold
    save_calibration(folder, calibration)
    save_weights(folder, network, setup.architecture, dataset.classes, loaded.preparation, threshold, setup.published)
    similarity = PixelSimilarity().fit(dataset.train)
    save_class_means(folder, similarity.class_means)
    write_predictions(folder, dataset.valid, said, uncalibrated, half)
    predicted = probabilities.argmax(axis=1)
    right = predicted == labels
    baseline = similarity.predict(dataset.valid.pixels) == labels
    measured = _measured(said, uncalibrated, labels, ~half)
    result: TrainResult = {
        "run": str(folder),
        "model": setup.recipe.model,
        "epochs": len(learn.recorder.values),
        "valid_accuracy": float(right.mean()),
        "interval": analysis.accuracy_interval(right, loaded.groups.get("valid")),
        "balanced_accuracy": analysis.balanced_accuracy(predicted, labels),
        "baseline_accuracy": float(baseline.mean()),
        "parameters": count_parameters(network),
        "threshold": threshold,
        "coverage": config.coverage,
        "set_coverage": measured and measured.coverage,
        "set_size": measured and measured.set_size,
        "rejected": measured and measured.rejected,
        "left_out": list(loaded.left_out),
    }
    if loaded.validates_on_test:
        result["test_accuracy"] = result["valid_accuracy"]
    if dataset.test is not None:
        guesses = predict_proba(network, dataset.test.pixels, learn.device).argmax(dim=1).numpy()
        result["test_accuracy"] = float((guesses == dataset.test.labels).mean())
    return result


def calibrate(setup: Setup, config: TrainConfig, half: np.ndarray) -> tuple[Calibration, np.ndarray, np.ndarray]:
    """(calibration, logits, distances): of the trained network, by the validation images where the mask is true.

    half: bool [n]; logits: of all validation images, float32 [n, classes]; distances: float32 [n]
    """
    from underhood.analysis.inference import logits_and_distances

    dataset, network, device = setup.loaded.dataset, setup.network, setup.learn.device
    rows = training_rows(dataset.train.labels, last_inputs(network))
    known = fit_prototypes(_features(setup, config, rows), dataset.train.labels[rows])
    logits, distances = logits_and_distances(network, dataset.valid.pixels, known, device)
    assert distances is not None
    labels = dataset.valid.labels[half]
    calibration = fit_calibration(logits[half], distances[half], labels, config.coverage, config.reject, known)
    return calibration, logits, distances


def _features(setup: Setup, config: TrainConfig, rows: np.ndarray) -> np.ndarray:
    """The input of the last layer for these training images, int [m]: float32 [m, features]."""
    from underhood.analysis.inference import features
    from underhood.training.tune import features_of

    train = setup.loaded.dataset.train
    if setup.recipe.tune == "head":  # they are computed already; only the main process measures, so nothing is shared
        return features_of(replace(setup, processes=SINGLE_PROCESS), train, config)[0].numpy()[rows]
    return features(setup.network, train.pixels[rows], setup.learn.device).numpy()


def _measured(said: Answers, uncalibrated: np.ndarray, labels: np.ndarray, rows: np.ndarray) -> Measured | None:
    """What answers are worth on these images, a mask bool [n]; None without any."""
    if not rows.any():
        return None
    sets = None if said.sets is None else said.sets[rows]
    reasons = [reason for reason, chosen in zip(said.reasons, rows.tolist(), strict=True) if chosen]
    return measure_answers(Answers(said.probabilities[rows], sets, reasons), uncalibrated[rows], labels[rows])


def why_sets_are_large(loaded: LoadedData, coverage: float) -> str:
    """Why prediction sets hold many classes, where the images that calibrate are too few; empty where they are not."""
    labels, classes = loaded.dataset.valid.labels, len(loaded.dataset.classes)
    needed, labels = images_needed(coverage), labels[calibration_half(labels, loaded.groups.get("valid"))]
    counts = np.bincount(labels, minlength=classes)
    if len(labels) < needed:
        return f"prediction sets hold every class: {len(labels)} images calibrate, {coverage:.0%} needs {needed}"
    few = int((counts < needed).sum())
    if few:
        what = f"{few} of {classes} classes have" if few > 1 else f"1 of {classes} classes has"
        return f"{what} fewer than {needed} images to calibrate: their prediction sets have the limit of all images"
    return ""
