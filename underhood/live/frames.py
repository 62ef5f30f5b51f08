"""What is shown of a network at one step: probabilities of some images, weights, feature maps of one image."""

import base64
import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from underhood.analysis.inference import evaluating, first_weights
from underhood.core.images import Images
from underhood.data.files import data_url, encode_png
from underhood.training.layer_stats import LAYER_COLUMNS, layer_names

WATCHED = 24  # validation images whose probabilities are shown
MOST_MAPS, MOST_LAYERS, MOST_SIDE = 32, 24, 32  # feature maps of a layer, layers, pixels a side
HIDDEN = ("Normalize", "Flatten")  # layers whose output looks like their input


@dataclass(frozen=True)
class Subject:
    """A network and the labelled images on which it is watched."""

    model: nn.Module  # what is trained: the network, or its last layer
    inputs: Tensor  # what it takes of each image [n, …]: pixels, or features
    labels: np.ndarray  # int64 [n]
    pixels: np.ndarray | None  # uint8 [n, c, h, w], to be shown; None where inputs are no images
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    @torch.inference_mode()
    def outputs(self, rows: Sequence[int] | np.ndarray) -> Tensor:
        """The model's outputs for these images, in evaluation mode [rows, classes]. Its mode is restored."""
        device = next((parameter.device for parameter in self.model.parameters()), torch.device("cpu"))
        with evaluating(self.model):
            return self.model(self.inputs[torch.as_tensor(rows, device=self.inputs.device)].to(device))

    def image(self, row: int) -> str:
        """One image as a data URL; empty where there is none."""
        return "" if self.pixels is None else data_url(encode_png(self.pixels[row]))


def subject_of(learn: Any, images: Images | None = None) -> Subject:
    """What a learner trains, on its validation images. images: to be shown; by default the loader's own items."""
    data = learn.dls.valid.dataset
    if isinstance(data, Images):
        images = images or data
        inputs, labels = torch.from_numpy(data.pixels), data.labels
    else:
        x, y = data if isinstance(data, tuple) else zip(*[data[i] for i in range(min(len(data), 1000))], strict=True)
        inputs = x if isinstance(x, Tensor) else torch.stack([torch.as_tensor(one) for one in x])
        y = y if isinstance(y, (Tensor, np.ndarray)) else [float(one) for one in y]
        labels = np.asarray(torch.as_tensor(y).cpu()).reshape(len(inputs), -1)[:, 0].astype(np.int64)
    pixels = _as_pixels(inputs) if images is None else images.pixels
    classes = tuple(learn.dls.classes) or tuple(map(str, range(max(2, int(labels.max()) + 1))))
    return Subject(learn.model, inputs, labels, pixels, classes)


def probabilities(outputs: Tensor) -> np.ndarray:
    """Probabilities of logits: float32 [n, classes]. One output is that of class 1, as in chapter 4."""
    if outputs.shape[1] > 1:
        return outputs.float().softmax(dim=1).cpu().numpy()
    right = outputs.float().sigmoid().cpu()
    return torch.cat([1 - right, right], dim=1).numpy()


def spread_over_classes(labels: np.ndarray, count: int) -> list[int]:
    """Indices of ``count`` images, the classes in turn. labels: int64 [n]"""
    place = np.zeros(len(labels), int)  # of an image among those of its class
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        place[rows] = np.arange(len(rows))
    return np.lexsort((labels, place))[:count].tolist()


def frame(
    subject: Subject, watched: Sequence[int], chosen: int, more: Sequence[int] = (), stats: Tensor | None = None
) -> tuple[dict[str, Any], np.ndarray]:
    """(what is shown of the network as it is now, predictions of the images ``more``: int64 [more]).

    watched: images whose probabilities are shown; chosen: the one whose feature maps are; more: others to predict
    stats: the latest statistics of each layer, float64 [layers, LAYER_COLUMNS], see ``training/layer_stats.py``
    """
    layers: list[dict[str, Any]] = []
    with ExitStack() as hooks:
        layers_by_name = list(subject.model.named_children()) or [("", subject.model)]  # a single layer has no parts
        for name, layer in layers_by_name[:MOST_LAYERS]:
            if type(layer).__name__ not in HIDDEN:
                hooks.callback(layer.register_forward_hook(partial(_record, layers, name)).remove)
        found = probabilities(subject.outputs([chosen, *watched, *more]))
    if stats is not None:
        measured = dict(zip(layer_names(subject.model), stats.tolist(), strict=True))
        for one in layers:
            one["stats"] = _statistics(measured.get(one["name"]))
    weights = None if subject.pixels is None else first_weights(subject.model, subject.pixels.shape[1:])
    shown = {
        "images": list(watched),
        "probabilities": np.round(found[1 : 1 + len(watched)], 4).tolist(),
        "chosen": chosen,
        "chosen_probabilities": np.round(found[0], 4).tolist(),
        "weights": None if weights is None else packed(torch.from_numpy(weights[:64])),
        "layers": layers,
    }
    return shown, found[1 + len(watched) :].argmax(axis=1)


def _record(layers: list[dict[str, Any]], name: str, layer: nn.Module, _: Any, output: Tensor) -> None:
    """Note a layer's output for the first image, and how many units are dead: above 0 for none of these images."""
    if any(one["name"] == name for one in layers):  # a model that evaluates the mirror image, too
        return
    first = output[0]
    maps = first.detach().float()[:MOST_MAPS] if first.ndim == 3 else first.detach().float().reshape(-1, 1, 1)[:128]
    if max(maps.shape[1:]) > MOST_SIDE:
        maps = F.adaptive_avg_pool2d(maps, (min(maps.shape[1], MOST_SIDE), min(maps.shape[2], MOST_SIDE)))
    one: dict[str, Any] = {
        "name": name,
        "kind": type(layer).__name__,
        "text": describe(layer),
        "shape": list(first.shape),
    }
    one["maps"] = packed(maps)
    if isinstance(layer, (nn.ReLU, nn.ReLU6)):
        above = (output > 0).flatten(2).any(dim=2) if output.ndim > 2 else output > 0  # [n, units]
        one["dead"] = int((~above.any(dim=0)).sum())
    layers.append(one)


def _statistics(row: list[float] | None) -> dict[str, float]:
    """A layer's statistics by name, without those that there are not."""
    named = zip(LAYER_COLUMNS[1:], (row or [])[1:], strict=False)
    return {name: float(f"{value:.4g}") for name, value in named if math.isfinite(value)}


def describe(layer: nn.Module) -> str:
    """What a layer does, in a few words."""
    one: Any = layer
    if isinstance(layer, nn.Conv2d):
        height, width = one.kernel_size
        step = f", every {one.stride[0]} pixels" if one.stride[0] > 1 else ""
        return f"{one.out_channels} kernels of {height} × {width}{step}"
    if isinstance(layer, nn.Linear):
        return f"{one.out_features} weighted sums of {one.in_features:,} numbers"
    if isinstance(layer, (nn.MaxPool2d, nn.AvgPool2d)):
        side = one.kernel_size if isinstance(one.kernel_size, int) else one.kernel_size[0]
        return f"{'largest' if isinstance(layer, nn.MaxPool2d) else 'mean'} of {side} × {side}"
    if isinstance(layer, nn.BatchNorm2d):
        return "mean 0 and spread 1, then scaled and shifted"
    return "what is below 0 becomes 0" if isinstance(layer, (nn.ReLU, nn.ReLU6)) else type(layer).__name__


def packed(values: Tensor) -> dict[str, Any]:
    """Numbers, of any shape [...], as bytes from −127 to 127 in base64, with shape and largest absolute value."""
    values = values.nan_to_num(0.0, 0.0, 0.0)  # of a network that has gone wrong
    largest = float(values.abs().max()) if values.numel() else 0.0
    scaled = (values * (127 / largest if largest > 0 else 0.0)).round().to(torch.int8)
    data = base64.b64encode(scaled.cpu().contiguous().numpy().tobytes()).decode()
    return {"shape": list(values.shape), "max": float(f"{largest:.4g}"), "data": data}


def confusion(labels: np.ndarray, predicted: np.ndarray, classes: int) -> list[list[int]]:
    """How many images of each class (row) were predicted as each class.

    labels, predicted: int64 [n]; predictions below 0 are not known yet; classes: how many there are
    """
    known = predicted >= 0
    counts = np.bincount(labels[known] * classes + predicted[known], minlength=classes * classes)
    return counts.reshape(classes, classes).tolist()


def _as_pixels(inputs: Tensor) -> np.ndarray | None:
    """Inputs as images, where they can be: [n, h, w], [n, c, h, w], or rows of a square number of grey pixels."""
    values = inputs.detach().cpu().float()
    if values.ndim == 2:
        side = round(values.shape[1] ** 0.5)
        values = values.reshape(len(values), 1, side, side) if side * side == values.shape[1] else values
    values = values[:, None] if values.ndim == 3 else values
    if values.ndim != 4 or values.shape[1] not in (1, 3):
        return None
    low, high = (0.0, 255.0) if values.max() > 1 else (0.0, 1.0)
    return ((values.clamp(low, high) - low) * (255 / (high - low))).round().to(torch.uint8).numpy()
