"""The operators that ``export`` writes: what each makes of the shapes of its inputs. Nothing is computed.

Each rule raises ValueError, or an error of Python's own, where its inputs do not fit.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

FLOAT, UINT8, INT64 = 1, 2, 7  # onnx's numbers of data types
Attributes = dict[str, Any]  # of a node
MAX_WINDOW = 1024  # of a convolution or pooling: its size, step and padding
MAX_RANK = 8  # dimensions of a value, and numbers of a constant that says a shape


class Value(NamedTuple):
    """What is known of a value in the graph before it runs."""

    shape: tuple[int, ...]
    kind: int = FLOAT
    known: np.ndarray | None = None  # the numbers, of few int64 constants
    work: int = 0  # multiply-adds to compute it
    number: int | None = None  # its one number, where that is the size of another value, such as the number of images


def require(holds: bool, reason: str) -> None:
    """Raise ValueError with the reason unless it holds."""
    if not holds:
        raise ValueError(reason)


def _cast(attributes: Attributes, x: Value) -> Value:
    require(attributes["to"] == FLOAT and x.kind == UINT8, "it converts other numbers than pixels")
    return Value(x.shape)


def _same(_: Attributes, x: Value, *more: Value) -> Value:
    """Relu, Softmax, BatchNormalization: the shape of the first input; others have a number for each channel."""
    require(all(one.shape == x.shape[1:2] for one in more) and x.kind == FLOAT, "other channels")
    return Value(x.shape)


def _clip(_: Attributes, x: Value, *bounds: Value) -> Value:
    require(x.kind == FLOAT and [(one.shape, one.kind) for one in bounds] == [((), FLOAT)] * 2, "other bounds")
    return Value(x.shape)


def _softmax(attributes: Attributes, x: Value) -> Value:
    require(attributes.get("axis") in (1, -1) and len(x.shape) == 2, "not over the classes")
    return _same(attributes, x)


def _broadcast(_: Attributes, x: Value, y: Value) -> Value:
    require(x.kind == y.kind != UINT8, "of different kinds")
    return Value(np.broadcast_shapes(x.shape, y.shape), x.kind)


def _windows(attributes: Attributes, x: Value, kernel: tuple[int, ...]) -> tuple[int, ...]:
    """Height and width of the result of a convolution or pooling."""
    strides, dilations = attributes.get("strides", (1, 1)), attributes.get("dilations", (1, 1))
    pads, up = attributes.get("pads", (0, 0, 0, 0)), attributes.get("ceil_mode", 0)
    require(attributes.get("auto_pad", b"NOTSET") == b"NOTSET" and x.kind == FLOAT, "auto_pad")
    require([len(x.shape), len(kernel), len(strides), len(dilations), len(pads)] == [4, 2, 2, 2, 4], "not 2-d")
    require(min(*kernel, *strides, *dilations) > 0 and min(pads) >= 0, "a size below 1")
    require(max(*kernel, *strides, *dilations, *pads) <= MAX_WINDOW, "a size that is too large")
    sizes = []
    for side, size, stride, dilation, before, after in zip(
        x.shape[2:], kernel, strides, dilations, pads[:2], pads[2:], strict=True
    ):
        room = side + before + after - dilation * (size - 1) - 1
        count = (-(-room // stride) if up else room // stride) + 1
        count -= bool(up and (count - 1) * stride >= side + before)  # a window must not begin in the padding
        require(count > 0, "a window larger than the image")
        sizes.append(count)
    return tuple(sizes)


def _conv(attributes: Attributes, x: Value, weight: Value, *bias: Value) -> Value:
    features, channels, *kernel = weight.shape
    groups = attributes.get("group", 1)
    require(groups > 0 and features % groups == 0 and channels * groups == x.shape[1], "other channels")
    require(attributes.get("kernel_shape", tuple(kernel)) == tuple(kernel), "another kernel_shape")
    require(all(one.shape == (features,) for one in bias) and len(bias) <= 1, "another bias")
    shape = x.shape[0], features, *_windows(attributes, x, tuple(kernel))
    return Value(shape, work=math.prod(shape) * channels * math.prod(kernel))


def _pool(attributes: Attributes, x: Value) -> Value:
    shape = *x.shape[:2], *_windows(attributes, x, attributes["kernel_shape"])
    return Value(shape, work=math.prod(shape) * math.prod(attributes["kernel_shape"]))


def _reduce(attributes: Attributes, x: Value, axes: Value) -> Value:
    require(attributes.get("keepdims", 1) in (0, 1) and x.kind == FLOAT and axes.known is not None, "other axes")
    chosen = {range(len(x.shape))[i] for i in axes.known.tolist()}  # type: ignore[union-attr]
    kept = [i for i in range(len(x.shape)) if i not in chosen]
    require(bool(chosen), "no axes")
    sizes = [1 if i in chosen else size for i, size in enumerate(x.shape)]
    return Value(tuple(sizes if attributes.get("keepdims", 1) else (x.shape[i] for i in kept)))


def _reshape(_: Attributes, x: Value, shape: Value) -> Value:
    wanted = shape.known.tolist()  # type: ignore[union-attr]
    require(wanted.count(-1) <= 1 and all(size > 0 or size == -1 for size in wanted), "another shape")
    total, rest = math.prod(x.shape), math.prod(size for size in wanted if size > 0)
    new = tuple(total // rest if size == -1 else size for size in wanted)
    require(math.prod(new) == total, "another number of elements")
    return Value(new, x.kind)


def _gemm(attributes: Attributes, x: Value, weight: Value, *bias: Value) -> Value:
    (n, inputs), (first, second) = x.shape, weight.shape
    outputs, own = (first, second) if attributes.get("transB", 0) == 1 else (second, first)
    require(attributes.get("transA", 0) == 0 and own == inputs and x.kind == FLOAT, "other features")
    require([one.shape for one in bias] in ([], [(outputs,)]), "another bias")
    return Value((n, outputs), work=n * inputs * outputs)


def _shape(attributes: Attributes, x: Value) -> Value:
    require([attributes.get("start", 0), attributes["end"]] == [0, 1], "more than the first size")
    return Value((1,), INT64, number=x.shape[0])


def _squeeze(_: Attributes, x: Value) -> Value:
    return Value((), INT64, number=int(x.number))  # type: ignore[arg-type]  # TypeError for anything but a size


def _range(_: Attributes, start: Value, limit: Value, step: Value) -> Value:
    """No size may shrink where there are more images: then no number of them takes more than the most, a batch."""
    require(start.known == 0 and step.known == 1, "it does not count from 0")
    return Value((int(limit.number),), INT64)  # type: ignore[arg-type]  # TypeError for anything but a size


def _unsqueeze(_: Attributes, x: Value, axes: Value) -> Value:
    rank = len(x.shape) + len(axes.known)  # type: ignore[arg-type]
    new, sizes = {range(rank)[i] for i in axes.known.tolist()}, iter(x.shape)  # type: ignore[union-attr]
    return Value(tuple(1 if i in new else next(sizes) for i in range(rank)), x.kind)


def _gather(attributes: Attributes, x: Value, rows: Value) -> Value:
    axis = range(len(x.shape))[attributes.get("axis", 0)]
    require(rows.kind == INT64, "other rows")
    return Value((*x.shape[:axis], *rows.shape, *x.shape[axis + 1 :]), x.kind)


def _top_k(attributes: Attributes, x: Value, count: Value) -> list[Value]:
    """The largest numbers of each row, and where they are."""
    k = int(count.known.item())  # type: ignore[union-attr]
    require(x.kind == FLOAT and len(x.shape) == 2 and attributes.get("axis", -1) in (1, -1), "not of rows")
    require(1 <= k <= x.shape[1] and attributes.get("largest", 1) == 1, "other numbers of a row")
    shape = x.shape[0], k
    return [Value(shape, work=math.prod(x.shape)), Value(shape, INT64)]


POOL = "auto_pad ceil_mode count_include_pad dilations kernel_shape pads storage_order strides"
RULES: dict[
    str, tuple[Callable[..., Value | list[Value]], str]
] = {  # operator → its rule, the attributes that it may have
    "Add": (_broadcast, ""),
    "AveragePool": (_pool, POOL),
    "BatchNormalization": (_same, "epsilon momentum"),
    "Cast": (_cast, "to"),
    "Clip": (_clip, ""),
    "Conv": (_conv, "auto_pad dilations group kernel_shape pads strides"),
    "Div": (_broadcast, ""),
    "Gather": (_gather, "axis"),
    "Gemm": (_gemm, "alpha beta transA transB"),
    "MatMul": (_gemm, ""),
    "MaxPool": (_pool, POOL),
    "Mul": (_broadcast, ""),
    "Range": (_range, ""),
    "ReduceL2": (_reduce, "keepdims noop_with_empty_axes"),
    "ReduceMax": (_reduce, "keepdims noop_with_empty_axes"),
    "ReduceMean": (_reduce, "keepdims noop_with_empty_axes"),
    "Relu": (_same, ""),
    "Reshape": (_reshape, "allowzero"),
    "Shape": (_shape, "end start"),
    "Softmax": (_softmax, "axis"),
    "Squeeze": (_squeeze, ""),
    "Sub": (_broadcast, ""),
    "TopK": (_top_k, "axis largest sorted"),
    "Unsqueeze": (_unsqueeze, ""),
}
