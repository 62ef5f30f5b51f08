"""A run's network as a ``Predictor`` needs it, with torch."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from underhood.analysis import require_probabilities
from underhood.analysis.attributions import integrated_gradients
from underhood.analysis.calibration import feature_distances, softmax
from underhood.analysis.inference import logits_and_distances
from underhood.core.errors import RunError, UnderhoodError
from underhood.runs.calibration import Calibration
from underhood.runs.checkpoint import load_class_means, load_run, read_metrics
from underhood.serving.loaded import LoadedModel

if TYPE_CHECKING:
    pass

SMALL_BATCH = 16  # images


class CalibratedNetwork(nn.Module):
    """A ``Network`` and its calibration as one module, to export: what ``LoadedModel.outputs`` computes, in torch."""

    projection: Tensor
    prototypes: Tensor

    def __init__(self, network: Any, calibration: Calibration):
        super().__init__()
        self.network, self.temperature = network, calibration.temperature
        self.measures = calibration.projection is not None and calibration.prototypes is not None
        self.neighbours = calibration.neighbours
        if calibration.projection is not None and calibration.prototypes is not None:
            self.register_buffer("projection", torch.from_numpy(calibration.projection))  # [features, rank]
            self.register_buffer("prototypes", torch.from_numpy(calibration.prototypes.T.copy()))  # [rank, prototypes]

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Images, uint8 [n, c, h, w], to probabilities, [n, classes], and, where it has prototypes, distances, [n]."""
        logits, features = self.network.logits_and_features(x)
        probabilities = (logits if self.temperature == 1 else logits / self.temperature).softmax(dim=1)
        if not self.measures:
            return probabilities
        # The same as in ``feature_distances``, but the nearest are found before the division by the features' length.
        products = features @ self.projection @ self.prototypes  # [n, prototypes]
        nearest = products.topk(self.neighbours, dim=1).values.mean(dim=1)
        length = torch.linalg.vector_norm(features, dim=1).clamp(1e-12, torch.finfo(torch.float32).max)
        return probabilities, 1 - nearest / length


def load_network(path: Path) -> LoadedModel:
    """Load a run folder. Raises RunError."""
    run = load_run(path)
    network: Any = run.model
    calibration = run.calibration

    def logits_of(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        if len(pixels) > SMALL_BATCH:
            return logits_and_distances(network, pixels, calibration)
        with torch.inference_mode():  # for a server's few images: half the time of a loader
            logits, features = (one.numpy() for one in network.logits_and_features(torch.from_numpy(pixels)))
        return logits, None if calibration.prototypes is None else feature_distances(features, calibration)

    def outputs(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        logits, distances = logits_of(pixels)
        try:
            return require_probabilities(softmax(logits, calibration.temperature)), distances
        except UnderhoodError as error:
            raise RunError(f"{path}: {error}") from None

    def probabilities(pixels: np.ndarray) -> np.ndarray:
        return outputs(pixels)[0]

    return LoadedModel(
        run.classes, run.preparation, run.threshold, probabilities, path.resolve().name, run.architecture.model,
        read_metrics(path), load_class_means(path, run), partial(integrated_gradients, network), calibration, outputs,
    )  # fmt: skip
