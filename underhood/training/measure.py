"""What a trained model is worth: measured on the validation images, and written to the run folder."""

from pathlib import Path
from typing import NotRequired, TypedDict

import numpy as np

from underhood import analysis
from underhood.core.images import Images
from underhood.runs import write_csv
from underhood.runs.checkpoint import save_class_means, save_weights
from underhood.scratch.similarity import PixelSimilarity
from underhood.training.config import TrainConfig
from underhood.training.setup import Setup, count_parameters


class TrainResult(TypedDict):
    """What ``train`` returns, as JSON. Accuracies are fractions of the validation images."""

    run: str
    data: NotRequired[str]
    model: str
    epochs: int
    seconds: NotRequired[float]  # of training, without validation
    valid_accuracy: float
    interval: tuple[float, float]  # of valid_accuracy, 95 %
    balanced_accuracy: float
    baseline_accuracy: float  # of pixel similarity
    test_accuracy: NotRequired[float]  # where the data has a test part; without another, it is the one that validates
    parameters: int
    threshold: float  # predictions with a lower probability are rejected
    left_out: list[str]  # paths
    report: NotRequired[str]  # path


def measure(folder: Path, setup: Setup, config: TrainConfig) -> TrainResult:
    """Measure the trained model and the baseline on the validation images, and write the run's results.

    Writes weights.safetensors, ideals.npy and predictions.csv. Raises RunError.
    """
    from underhood.analysis.inference import predict_proba

    loaded, learn, network = setup.loaded, setup.learn, setup.network
    dataset = loaded.dataset
    probabilities = predict_proba(network, dataset.valid.pixels, learn.device).numpy()  # [n, classes]
    threshold = choose_threshold(probabilities.max(axis=1), config.reject)
    save_weights(folder, network, setup.architecture, dataset.classes, loaded.preparation, threshold, setup.published)
    similarity = PixelSimilarity().fit(dataset.train)
    save_class_means(folder, similarity.class_means)
    predicted = save_predictions(folder, probabilities, dataset.valid)
    right = predicted == dataset.valid.labels
    baseline = similarity.predict(dataset.valid.pixels) == dataset.valid.labels
    result: TrainResult = {
        "run": str(folder),
        "model": setup.recipe.model,
        "epochs": len(learn.recorder.values),
        "valid_accuracy": float(right.mean()),
        "interval": analysis.wilson_interval(int(right.sum()), len(right)),
        "balanced_accuracy": analysis.balanced_accuracy(predicted, dataset.valid.labels),
        "baseline_accuracy": float(baseline.mean()),
        "parameters": count_parameters(network),
        "threshold": threshold,
        "left_out": list(loaded.left_out),
    }
    if loaded.validates_on_test:
        result["test_accuracy"] = result["valid_accuracy"]
    if dataset.test is not None:
        guesses = predict_proba(network, dataset.test.pixels, learn.device).argmax(dim=1).numpy()
        result["test_accuracy"] = float((guesses == dataset.test.labels).mean())
    return result


def choose_threshold(probabilities: np.ndarray, reject: float) -> float:
    """The threshold that rejects this fraction of the predictions, whose probabilities are float [n]; 0 for none."""
    count = min(round(reject * len(probabilities)), len(probabilities) - 1)
    return float(np.sort(probabilities)[count]) if count else 0.0


def save_predictions(folder: Path, probabilities: np.ndarray, images: Images) -> np.ndarray:
    """Write ``predictions.csv``, a row for each validation image; returns the predicted labels: int64 [n].

    probabilities: float32 [n, classes]. Raises RunError.
    """
    labels, predicted = images.labels, probabilities.argmax(axis=1)
    losses = analysis.cross_entropy_per_image(probabilities, labels)
    columns = zip(images.names, labels, predicted, probabilities.max(axis=1), losses, strict=True)
    rows = [
        [name, images.classes[label], images.classes[guess], f"{probability:.6f}", f"{loss:.6f}"]
        for name, label, guess, probability, loss in columns
    ]
    write_csv(folder / "predictions.csv", analysis.PREDICTION_COLUMNS, rows)
    return predicted
