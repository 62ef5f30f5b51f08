"""A model twice as wide as another, for the question whether that one is too small."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def widened(model: nn.Module) -> nn.Sequential | None:
    """The same layers with twice as many units in each but the last, and new random weights; None where it cannot tell.

    Only chains are widened: ``nn.Sequential`` of linear layers, convolutions, batch normalisation and layers without
    parameters, with at least one hidden layer.
    """
    if not isinstance(model, nn.Sequential):
        return None
    layers = list(_chain(model))
    weighted = [number for number, layer in enumerate(layers) if isinstance(layer, LAYERS)]
    if len(weighted) < 2:
        return None
    made = [_wide(layer, number, weighted[0], weighted[-1]) for number, layer in enumerate(layers)]
    known = [layer for layer in made if layer is not None]
    device = next(model.parameters()).device
    return nn.Sequential(*known).to(device) if len(known) == len(made) else None


def _chain(model: nn.Sequential) -> Iterator[nn.Module]:
    for layer in model:
        if isinstance(layer, nn.Sequential):
            yield from _chain(layer)
        else:
            yield layer


def _wide(layer: Any, number: int, first: int, last: int) -> nn.Module | None:
    """A layer between twice as many units; None for a kind whose width is not known."""
    before, after = 1 + (number > first), 1 + (number < last)
    if isinstance(layer, nn.Linear):
        return nn.Linear(before * layer.in_features, after * layer.out_features, layer.bias is not None)
    if isinstance(layer, LAYERS):
        if layer.groups != 1:
            return None
        size: Any = layer
        how = {name: getattr(layer, name) for name in ("kernel_size", "stride", "padding", "dilation", "padding_mode")}
        how |= {"in_channels": before * size.in_channels, "out_channels": after * size.out_channels}
        made: nn.Module = type(layer)(**how, bias=layer.bias is not None)
        return made
    if isinstance(layer, _BatchNorm):
        width = layer.num_features * (2 if first < number < last else 1)
        return type(layer)(width, layer.eps, layer.momentum, layer.affine, layer.track_running_stats)
    return None if any(True for _ in layer.parameters()) else deepcopy(layer)
