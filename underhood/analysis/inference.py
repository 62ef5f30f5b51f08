"""Run a trained model: probabilities, features, nearest images. None of it changes the model or its mode."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from underhood.analysis import require_probabilities
from underhood.analysis.calibration import Answers, answers, feature_distances, softmax
from underhood.core.loader import DataLoader, validation_batch_size
from underhood.runs.calibration import Calibration

if TYPE_CHECKING:
    from underhood.core.images import Images
    from underhood.runs.checkpoint import Run


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode within the ``with``, and in its previous mode afterwards."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


@torch.inference_mode()
def predict_proba(model: nn.Module, pixels: np.ndarray | Tensor, device: str | torch.device | None = None) -> Tensor:
    """The probability of each class for images, uint8 [n, c, h, w]: float32 [n, classes].

    device: the model's by default

    A model with one output, such as chapter 4's, gives one probability by sigmoid: [n, 1]. Raises UnderhoodError where
    the model predicts NaN.
    """
    device = device or next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    with evaluating(model):
        size = validation_batch_size(pixels.shape)
        logits = torch.empty(0)
        for number, x in enumerate(DataLoader(pixels, size).batches()):
            outputs = model(x.to(device))
            if not number:  # one block for all: small results between large ones would fragment the memory
                logits = torch.empty(len(pixels), outputs.shape[1])
            logits[number * size : number * size + len(x)] = outputs
    probabilities = logits.softmax(dim=1) if logits.shape[1] > 1 else logits.sigmoid()
    require_probabilities(probabilities.numpy())
    return probabilities


@torch.inference_mode()
def logits_and_distances(
    network: Any, pixels: np.ndarray, calibration: Calibration, device: str | torch.device = "cpu"
) -> tuple[np.ndarray, np.ndarray | None]:
    """(logits float32 [n, classes], distances float32 [n]) of images, uint8 [n, c, h, w].

    network: a ``Network``; calibration: without prototypes there are no distances, None
    """
    logits, distances = [], []
    with evaluating(network):
        for x in DataLoader(pixels, validation_batch_size(pixels.shape)).batches():
            outputs, found = network.logits_and_features(x.to(device))
            logits.append(outputs.float().cpu().numpy())
            if calibration.prototypes is not None:
                distances.append(feature_distances(found.float().cpu().numpy(), calibration))
    return np.concatenate(logits), np.concatenate(distances) if distances else None


def answers_of(run: "Run", pixels: np.ndarray) -> Answers:
    """What a run says of images, uint8 [n, c, h, w]. Raises UnderhoodError where the model predicts NaN."""
    calibration = run.calibration
    logits, distances = logits_and_distances(run.model, pixels, calibration)
    probabilities = require_probabilities(softmax(logits, calibration.temperature), run.path)
    return answers(calibration, pixels, probabilities, distances)


@torch.inference_mode()
def features(model: nn.Module, pixels: np.ndarray, device: str | torch.device = "cpu") -> Tensor:
    """The input of the last layer for images, uint8 [n, c, h, w]: float32 [n, features]. For ``linear``, the pixels."""
    before, loader = (
        nn.Sequential(*list(model.children())[:-1]),
        DataLoader(pixels, validation_batch_size(pixels.shape)),
    )
    with evaluating(model):
        return torch.cat([before(x.to(device)).cpu() for x in loader.batches()])


def nearest_images(
    model: nn.Module, pixels: np.ndarray, images: "Images", rows: np.ndarray, count: int = 5
) -> np.ndarray:
    """For each of these images, uint8 [n, c, h, w], the nearest ones by the model's features: int64 [n, ≤ count].

    images, rows: the images to search, and which of them, int64 [m]; the result has some of these rows, nearest first
    """
    own = features(model, pixels)
    size = validation_batch_size(images.pixels.shape)
    distances = torch.empty(len(own), len(rows))  # one block for all, as in predict_proba
    for start in range(0, len(rows), size):
        block = rows[start : start + size]
        distances[:, start : start + size] = torch.cdist(own, features(model, images.pixels[block]))
    nearest = distances.topk(min(count, len(rows)), dim=1, largest=False).indices  # [n, ≤ count]
    return rows[nearest.numpy()]


def first_weights(model: nn.Module, shape: tuple[int, ...]) -> np.ndarray | None:
    """The weights of a model's first layer as images: float32 [units, c, h, w]; None where it does not see pixels.

    shape: of an image [c, h, w]
    """
    layer = next((one for one in model.modules() if isinstance(one, (nn.Linear, nn.Conv2d))), None)
    values = None if layer is None else layer.weight.detach().float().cpu().numpy()
    if values is None or values.shape[1] != (shape[0] if values.ndim == 4 else math.prod(shape)):
        return None
    return values if values.ndim == 4 else values.reshape(-1, *shape)


def multiply_adds(model: nn.Module, image: np.ndarray) -> int:
    """The number of multiply-adds that one image, uint8 [c, h, w], takes: a measure of the model's time.

    Those of convolutions and linear layers. ``torch.utils.flop_counter`` counts the same, but takes a second to import.
    """
    counts: list[int] = []

    def count(layer: Any, _: Any, output: Tensor) -> None:
        positions = output[0, 0].numel() if isinstance(layer, nn.Conv2d) else 1
        counts.append(positions * layer.weight.numel())

    hooks = [
        layer.register_forward_hook(count) for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)
    ]
    try:
        with evaluating(model), torch.inference_mode():
            model(torch.from_numpy(image[None].copy()))
    finally:
        for hook in hooks:
            hook.remove()
    return sum(counts)
