"""A network's layers and weights as the page has them: a list for JSON, and numbers as base64."""

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, nn

from underhood.core.errors import RunError
from underhood.core.models import Normalize
from underhood.runs.snapshots import spread_over_steps

if TYPE_CHECKING:
    from underhood.runs.checkpoint import Run
    from underhood.runs.snapshots import Snapshots

MAX_WEIGHTS = 2_000_000  # numbers: 8 MB as float32, 11 MB in the page
MAX_SNAPSHOT_BYTES = 6_000_000  # of all snapshots but the last: fewer are kept where the weights are many
SNAPSHOTS = 12


class UnknownLayerError(ValueError):
    """A layer that the page's JavaScript does not have."""


def export_layers(model: nn.Module) -> tuple[list[dict[str, Any]], list[str]]:
    """The layers of a model, one after the other, and the names of their tensors in its ``state_dict``.

    Each layer has a type, the name of its function in ``network.js``, its parameters, and under ``tensors`` the shape
    of each tensor and its offset in the numbers of all: ``pack`` puts them together in the order of the names. Raises
    UnknownLayerError for a layer that ``network.js`` does not have.
    """
    layers: list[dict[str, Any]] = []
    names: list[str] = []
    offset = 0
    for child, module in model.named_children():
        described = next((make(module) for kind, make in LAYERS.items() if isinstance(module, kind)), None)
        if described is None:
            raise UnknownLayerError(type(module).__name__)
        kind, options, fields = described
        tensors = {}
        for name, key in fields.items():
            tensor: Tensor | None = getattr(module, key)
            if tensor is not None:
                shape = list(tensor.squeeze().shape) if kind == "normalize" else list(tensor.shape)
                tensors[name] = {"shape": shape or [1], "offset": offset}
                names.append(f"{child}.{key}")
                offset += tensor.numel()
        layers.append({"type": kind, **options, "tensors": tensors})
    return layers, names


def export_network(run: "Run", snapshots: "Snapshots | None") -> dict[str, Any]:
    """The layers of a run's network and its weights at about twelve steps, the last ones as they are in the run.

    Raises RunError where the network is too large for a page.
    """
    numbers = sum(tensor.numel() for tensor in run.model.state_dict().values())
    try:
        layers, names = export_layers(run.model)
    except UnknownLayerError:
        layers = []
    if not layers or numbers > MAX_WEIGHTS:
        raise RunError(
            f"{run.path}: {run.architecture.model} is too large for one file, which is for linear, net and conv: "
            f"underhood serve {run.path}"
        )
    final = run.model.state_dict()
    kept = (
        []
        if snapshots is None
        else spread_over_steps(snapshots.steps, min(SNAPSHOTS, MAX_SNAPSHOT_BYTES // (2 * numbers) + 1))
    )
    weights = [
        {"step": snapshots.steps[number]} | _packed(final | snapshots.state(number), names, np.float16)
        for number in kept[:-1]
        if snapshots is not None
    ]
    last = None if snapshots is None else snapshots.steps[-1]
    return {"layers": layers, "snapshots": [*weights, {"step": last} | _packed(final, names, np.float32)]}


def _packed(state: Mapping[str, Tensor], names: Sequence[str], dtype: type) -> dict[str, str]:
    """The numbers of these tensors, one after the other."""
    return packed(np.concatenate([state[name].detach().float().contiguous().numpy().ravel() for name in names]), dtype)


def packed(values: np.ndarray, dtype: type) -> dict[str, str]:
    """Numbers, float32 of any shape [...], little-endian, as base64, with the type that they are stored as."""
    if np.abs(values).max() > np.finfo(dtype).max:  # too large for 16 bits
        dtype = np.float32
    content = values.astype(np.dtype(dtype).newbyteorder("<")).tobytes()
    return {"dtype": np.dtype(dtype).name, "base64": base64.b64encode(content).decode()}


def _pair(value: int | tuple[int, ...]) -> list[int]:
    return [value, value] if isinstance(value, int) else list(value)


def _convolution(layer: nn.Conv2d) -> tuple[str, dict[str, Any], dict[str, str]]:
    if layer.groups != 1 or layer.dilation != (1, 1) or isinstance(layer.padding, str):
        raise UnknownLayerError("a convolution with groups, dilation or padding by name")
    options = {"stride": list(layer.stride), "padding": list(layer.padding)}
    return "conv2d", options, {"weight": "weight", "bias": "bias"}


def _batch_norm(layer: nn.BatchNorm2d) -> tuple[str, dict[str, Any], dict[str, str]]:
    fields = {"mean": "running_mean", "variance": "running_var", "weight": "weight", "bias": "bias"}
    return "batchNorm", {"eps": layer.eps}, fields


def _pool(layer: nn.MaxPool2d | nn.AvgPool2d) -> tuple[str, dict[str, Any], dict[str, str]]:
    largest = isinstance(layer, nn.MaxPool2d)
    if (largest and layer.dilation != 1) or (not largest and _pair(layer.padding) != [0, 0]):
        raise UnknownLayerError("pooling with dilation, or means with padding")
    options = {"kernel": _pair(layer.kernel_size), "stride": _pair(layer.stride), "padding": _pair(layer.padding)}
    return "maxPool" if largest else "averagePool", options | {"ceil": layer.ceil_mode}, {}


# class → (function in network.js, its parameters, its tensors and their names in torch)
LAYERS: dict[type[nn.Module], Callable[[Any], tuple[str, dict[str, Any], dict[str, str]]]] = {
    Normalize: lambda _: ("normalize", {}, {"mean": "mean", "std": "deviation"}),
    nn.Conv2d: _convolution,
    nn.BatchNorm2d: _batch_norm,
    nn.ReLU: lambda _: ("relu", {}, {}),
    nn.MaxPool2d: _pool,
    nn.AvgPool2d: _pool,
    nn.Flatten: lambda _: ("flatten", {}, {}),
    nn.Linear: lambda _: ("linear", {}, {"weight": "weight", "bias": "bias"}),
}
