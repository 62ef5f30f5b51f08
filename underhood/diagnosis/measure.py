"""What ``Watch`` notes of tensors: numbers that are small enough to keep."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from underhood.diagnosis.trace import ParameterSeen, Pass, Units

ELEMENTWISE = {
    "add", "sub", "mul", "div", "pow", "eq", "ne", "gt", "lt", "where", "true_divide", "rsub", "__add__", "__radd__",
    "__sub__", "__rsub__", "__mul__", "__rmul__", "__truediv__", "__eq__", "__ne__", "__gt__", "__lt__", "maximum",
    "minimum", "__and__", "logical_and", "abs_diff",
}  # fmt: skip
MODE_LAYERS = (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._BatchNorm)
MOST_CLASSES = 1000
SATURATED = 0.99


def tensors(args: Iterable[Any]) -> Iterator[Tensor]:
    """The tensors among arguments, and in tuples and lists there: of any shape, [...]."""
    for one in args:
        if isinstance(one, Tensor):
            yield one
        elif isinstance(one, (tuple, list)):
            yield from (inner for inner in one if isinstance(inner, Tensor))


def fingerprints(x: Tensor) -> np.ndarray:
    """A number for each row of x, [n, …], equal for equal rows: int64 [n]."""
    return np.array([hash(row.tobytes()) for row in x.detach().cpu().float().numpy()], np.int64)


def forward_pass(x: Tensor, step: int, modes: dict[str, bool], closely: bool, normalised: bool) -> Pass:
    """What is kept of a batch x, [n, …], as the first layer gets it. normalised: that layer is batch normalisation."""
    gradients = torch.is_grad_enabled()
    if not closely:
        nothing = np.zeros(len(x), np.int64)
        return Pass(step, False, nothing, np.nan, np.nan, np.nan, np.nan, None, modes, gradients, normalised)
    values = x.float()
    colours = values.flatten(2).mean(2).cpu().numpy() if x.ndim == 4 else None
    low, high = values.aminmax()
    deviation = float(values.std()) if values.numel() > 1 else 0.0
    return Pass(
        step, False, fingerprints(x), float(values.mean()), deviation, float(low), float(high), colours, modes,
        gradients, normalised,
    )  # fmt: skip


def modes(model: nn.Module) -> dict[str, bool]:
    """Whether dropout and batch normalisation are in training mode: kind of layer → whether any of it is."""
    found: dict[str, bool] = {}
    for layer in model.modules():
        if isinstance(layer, MODE_LAYERS):
            kind = "dropout" if isinstance(layer, nn.modules.dropout._DropoutNd) else "batch normalisation"
            found[kind] = found.get(kind, False) or layer.training
    return found


def accidental(args: Iterable[Any], count: int) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """The shapes [n, 1] and [n] that broadcast to [n, n] among the arguments, where n is the number of images."""
    shapes = [tuple(one.shape) for one in args if isinstance(one, Tensor)]
    column = next((shape for shape in shapes if shape == (count, 1)), None)
    flat = next((shape for shape in shapes if shape == (count,)), None)
    return (column, flat) if column and flat and count > 1 else None


def activation(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """The kind of activation function that was called: relu, sigmoid or tanh; "" for anything else."""
    if name in ("relu", "relu_", "clamp_min", "clamp_min_", "relu6"):
        return "relu"
    if name in ("clamp", "clamp_") and kwargs.get("min", args[1] if len(args) > 1 else None) == 0:
        return "relu"
    if name in ("max", "maximum") and len(args) > 1 and isinstance(args[1], Tensor) and args[1].numel() == 1:
        return "relu"
    return name if name in ("sigmoid", "tanh") else ""


def add_units(units: dict[int, Any], number: int, kind: str, x: Tensor) -> None:
    """Add the outputs x, [n, units, …], of one activation function to what is known of its units."""
    flat = x.reshape(len(x), x.shape[1], -1)
    if kind == "relu":
        now, ends = (flat > 0).any(2).any(0), 0.0
    else:
        low = 0.0 if kind == "sigmoid" else -1.0
        ends = float(((flat > SATURATED) | (flat < low + 1 - SATURATED)).float().mean())
        now = torch.ones(x.shape[1], dtype=torch.bool)
    before = units.get(number)
    if before is not None and before[1].shape == now.shape:
        units[number] = (kind, before[1] | now.cpu(), before[2] + ends, before[3] + 1)
    else:
        units[number] = (kind, now.cpu(), ends, 1)


def units(known: dict[int, Any]) -> list[Units]:
    """What was seen of the units of each activation function."""
    return [Units(kind, active.numpy(), ends / count) for kind, active, ends, count in known.values()]


def is_target(x: Tensor, count: int) -> bool:
    """Whether a tensor may be the labels of a batch of n images: [n] or [n, 1] whole numbers, of few kinds."""
    if x.requires_grad or x.ndim == 0 or len(x) != count or x.numel() != count or x.dtype == torch.bool:
        return False
    values = x.detach().reshape(-1)
    if values.is_floating_point():
        return bool((values == values.round()).all()) and values.unique().numel() <= min(MOST_CLASSES, count)
    return values.unique().numel() <= MOST_CLASSES


def answers(args: tuple[Any, ...], count: int) -> tuple[np.ndarray, np.ndarray] | None:
    """What was predicted and what was right, int [n] each, where such are compared."""
    pair = [one.detach() for one in args if isinstance(one, Tensor) and one.numel() == count == len(one)]
    if len(pair) != 2 or any(one.requires_grad for one in pair):
        return None
    first, second = (one.reshape(-1).cpu().double().numpy() for one in pair)
    if not all(np.array_equal(one, one.round()) for one in (first, second)):
        return None
    return first.astype(int), second.astype(int)


def parameter(known: dict[int, ParameterSeen], one: Tensor, name: str = "") -> ParameterSeen:
    """What is known of a parameter, [...] of any shape; it is added where it is new."""
    if id(one) not in known:
        known[id(one)] = ParameterSeen(name or "parameter of shape " + " × ".join(map(str, one.shape)), one)
    return known[id(one)]


def take_gradient(seen: ParameterSeen, grad: Tensor | None) -> float:
    """Note a parameter's gradient, [...]; its largest number, in size, NaN where one is not finite."""
    if grad is None or not grad.numel():
        return 0.0
    largest = float(grad.detach().abs().max())
    seen.gradient = max(seen.gradient, largest) if np.isfinite(largest) else seen.gradient
    return largest if np.isfinite(largest) else float("nan")


def with_gradient_in_half(known: dict[int, ParameterSeen], gradients: dict[int, Tensor]) -> dict[int, Tensor]:
    """Of the parameters in bfloat16 or float16, which numbers have a gradient other than 0: by id, bool [...]."""
    grads = {key: gradients.get(key, one.parameter.grad) for key, one in known.items()
             if one.parameter.dtype in (torch.bfloat16, torch.float16)}  # fmt: skip
    return {key: grad.detach() != 0 for key, grad in grads.items() if grad is not None}


def left_by_step(before: Tensor, after: Tensor, wanted: Tensor) -> float:
    """The fraction of the numbers that should move, bool [...], of which before and after are equal."""
    return float(((before == after) & wanted).sum() / wanted.sum().clamp(min=1))


def names(some: Sequence[ParameterSeen]) -> str:
    """The names of the first three parameters, and how many more there are."""
    first = ", ".join(one.name for one in some[:3])
    return first + (f" and {len(some) - 3} more" if len(some) > 3 else "")


def share(some: Iterable[ParameterSeen], own: Iterable[ParameterSeen]) -> float:
    """What fraction of the numbers in all parameters these have."""
    return sum(one.size for one in some) / sum(one.size for one in own)
