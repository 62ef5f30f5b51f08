"""The check of a ``.onnx`` file before it is run: it may come from somebody else.

protobuf reads the few fields in ``SCHEMA`` and drops the rest: functions, sub-graphs, external data and sparse tensors
do not get any further. The operators must be those that ``export`` writes, each shape is computed before anything runs,
and onnxruntime receives the model as it was checked here, not the file.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

SCHEMA = {  # field:number:type of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto, * repeated
    "Model": "ir_version:1:int64 producer_name:2:string producer_version:3:string graph:7:Graph opset_import:8:Opset* "
    "metadata_props:14:Entry*",
    "Opset": "domain:1:string version:2:int64",
    "Entry": "key:1:string value:2:string",
    "Graph": "node:1:Node* name:2:string initializer:5:Tensor* input:11:Value* output:12:Value*",
    "Node": "input:1:string* output:2:string* name:3:string op_type:4:string attribute:5:Attribute* domain:7:string",
    "Attribute": "name:1:string f:2:float i:3:int64 s:4:bytes ints:8:int64* type:20:int32",
    "Tensor": "dims:1:int64* data_type:2:int32 name:8:string raw_data:9:bytes",
    "Value": "name:1:string type:2:Type",
    "Type": "tensor_type:1:TensorType",
    "TensorType": "elem_type:1:int32 shape:2:Shape",
    "Shape": "dim:1:Dim*",
    "Dim": "dim_value:1:int64 dim_param:2:string",
}
TYPES = {"float": 2, "int64": 3, "int32": 5, "string": 9, "bytes": 12}  # protobuf's numbers; messages are 11
INPUT = "pictures"
FLOAT, UINT8, INT64 = 1, 2, 7  # onnx's numbers of data types
OPSETS = range(18, 100)  # of the operators; onnxruntime knows which it has
Attributes = dict[str, Any]  # of a node
MAX_NODES = 500
MAX_NUMBERS = 2**28  # in all values of one image: 1 GB. vgg on 1024 × 1024 pixels has half as many
MAX_MULTIPLY_ADDS = 2 * 10**11  # for one image: resnet18 on 1024 × 1024 pixels takes a fifth
MAX_BATCH = 256  # images
MAX_WINDOW = 1024  # of a convolution or pooling: its size, step and padding
MAX_RANK = 8  # dimensions of a value, and numbers of a constant that says a shape


class Checked(NamedTuple):
    """A model that may be run."""

    content: bytes  # the model as it was checked
    metadata: dict[str, str]
    shape: tuple[int, ...]  # of an image, c, h, w
    classes: int
    batch: int  # images that may be run at once
    numbers: int  # in all values of one image, a measure of the time


class Value(NamedTuple):
    """What is known of a value in the graph before it runs."""

    shape: tuple[int, ...]
    kind: int = FLOAT
    known: np.ndarray | None = None  # the numbers, of few int64 constants
    work: int = 0  # multiply-adds to compute it
    number: int | None = None  # its one number, where that is the size of another value, such as the number of images


def check_graph(content: bytes) -> Checked:
    """Check a model. Raises ValueError with the reason if ``export`` would not have written it."""
    from google.protobuf.message import DecodeError

    try:
        model = _model_class().FromString(content)
    except DecodeError:
        raise ValueError("it is no ONNX model") from None
    model.DiscardUnknownFields()
    graph = model.graph
    sets = [(one.domain, one.version in OPSETS) for one in model.opset_import]
    _require(sets == [("", True)], "it uses other sets of operators")
    count = max(len(graph.node), len(graph.initializer))
    _require(count <= MAX_NODES, f"it has more than {MAX_NODES} operators or constants")
    for node in graph.node:
        known = node.op_type in RULES and not node.domain
        _require(known, f"operator {node.op_type!r} is not one that export writes")
    constants = {one.name: _constant(one) for one in graph.initializer}
    alone = [len(constants), len(graph.input), len(graph.output)] == [len(graph.initializer), 1, 1]
    _require(alone, "it has constants of one name, or several inputs or outputs")
    shape = _declared_input(graph.input[0])
    last = [(one.op_type, *one.output) for one in graph.node[-1:]]
    _require(last == [("Softmax", graph.output[0].name)], "it does not end with Softmax")
    numbers, result = _follow(graph.node, constants | {INPUT: Value((1, *shape), UINT8)})
    _require(len(result.shape) == 2 and INPUT not in constants, f"it returns {result.shape} for an image")
    batch = max(1, min(MAX_BATCH, MAX_NUMBERS // numbers))
    _, of_batch = _follow(graph.node, constants | {INPUT: Value((batch, *shape), UINT8)}, batch)
    _require(of_batch.shape == (batch, result.shape[1]), f"it returns {of_batch.shape} for {batch} images")
    declared = graph.output[0].type.tensor_type
    sizes = declared.elem_type, *(one.dim_value for one in declared.shape.dim[1:])
    _require(sizes == (FLOAT, result.shape[1]), "its output is not what it declares")
    metadata = {one.key: one.value for one in model.metadata_props}
    return Checked(model.SerializeToString(), metadata, shape, result.shape[1], batch, numbers)


def _model_class() -> Any:
    """protobuf's class for the messages in ``SCHEMA``."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="model.proto", package="underhood", syntax="proto2")
    for name, fields in SCHEMA.items():
        message = file.message_type.add(name=name)
        for field in fields.split():
            label, number, kind = field.split(":")
            one = message.field.add(name=label, number=int(number), label=3 if kind.endswith("*") else 1)
            one.type = TYPES.get(kind.rstrip("*"), 11)
            if one.type == 11:
                one.type_name = ".underhood." + kind.rstrip("*")
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("underhood.Model"))


def _constant(tensor: Any) -> Value:
    """A constant whose bytes are as many as its shape says, and whose numbers are finite."""
    shape = tuple(tensor.dims)
    dtypes: dict[int, np.dtype[Any]] = {FLOAT: np.dtype("<f4"), INT64: np.dtype("<i8")}
    dtype = dtypes.get(tensor.data_type)
    if dtype is None or min(shape, default=1) < 1 or math.prod(shape) * dtype.itemsize != len(tensor.raw_data):
        raise ValueError(f"constant {tensor.name!r} does not have the numbers that it declares")
    content = np.frombuffer(tensor.raw_data, dtype)
    _require(bool(np.isfinite(content).all()), f"constant {tensor.name!r} holds NaN or infinity")
    small = tensor.data_type == INT64 and content.size <= MAX_RANK
    return Value(shape, tensor.data_type, content.reshape(shape) if small else None)


def _declared_input(value: Any) -> tuple[int, ...]:
    """The shape of an image, c, h, w, of the input, which is ``pictures``, uint8 [any number, c, h, w]."""
    tensor = value.type.tensor_type
    first, *shape = tensor.shape.dim
    numbers = tuple(one.dim_value for one in shape)
    _require(value.name == INPUT and tensor.elem_type == UINT8, f"its input is not {INPUT}, uint8")
    free = not first.HasField("dim_value")
    _require(free and len(numbers) == 3 and min(numbers) > 0, "its input is not [n, c, h, w]")
    return numbers


def _follow(nodes: Any, values: dict[str, Value], images: int = 1) -> tuple[int, Value]:
    """(how many numbers are computed, the last value), from the shapes of constants and input. Runs nothing."""
    numbers, work, result = 0, 0, Value(())
    for node in nodes:
        attributes = {one.name: _attribute(one) for one in node.attribute}
        rule, allowed = RULES[node.op_type]
        usual = set(attributes) <= set(allowed.split()) and len(attributes) == len(node.attribute)
        _require(usual, f"operator {node.op_type!r} has attributes that export does not write")
        own = len(node.output) == 1 and node.output[0] not in values
        _require(own, f"operator {node.op_type!r} has no output of its own name")
        try:
            result = values[node.output[0]] = rule(attributes, *(values[name] for name in node.input))
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
            raise ValueError(f"operator {node.op_type!r} does not fit its inputs ({error})") from None
        numbers, work = numbers + math.prod(result.shape), work + result.work
        within = numbers <= MAX_NUMBERS and work <= MAX_MULTIPLY_ADDS * images and len(result.shape) <= MAX_RANK
        _require(within, "it computes more than any model that export writes")
    return numbers, result


def _attribute(one: Any) -> Any:
    """The attribute's value: a number, a text, or a tuple of numbers."""
    kinds = {1: one.f, 2: one.i, 3: one.s, 7: tuple(one.ints)}
    _require(one.type in kinds, f"attribute {one.name!r} is not one that export writes")
    return kinds[one.type]


def _require(holds: bool, reason: str) -> None:
    if not holds:
        raise ValueError(reason)


def _cast(attributes: Attributes, x: Value) -> Value:
    _require(attributes["to"] == FLOAT and x.kind == UINT8, "it converts other numbers than pixels")
    return Value(x.shape)


def _same(_: Attributes, x: Value, *more: Value) -> Value:
    """Relu, Softmax, BatchNormalization: the shape of the first input; others have a number for each channel."""
    _require(all(one.shape == x.shape[1:2] for one in more) and x.kind == FLOAT, "other channels")
    return Value(x.shape)


def _softmax(attributes: Attributes, x: Value) -> Value:
    _require(attributes.get("axis") in (1, -1) and len(x.shape) == 2, "not over the classes")
    return _same(attributes, x)


def _broadcast(_: Attributes, x: Value, y: Value) -> Value:
    _require(x.kind == y.kind != UINT8, "of different kinds")
    return Value(np.broadcast_shapes(x.shape, y.shape), x.kind)


def _windows(attributes: Attributes, x: Value, kernel: tuple[int, ...]) -> tuple[int, ...]:
    """Height and width of the result of a convolution or pooling."""
    strides, dilations = attributes.get("strides", (1, 1)), attributes.get("dilations", (1, 1))
    pads, up = attributes.get("pads", (0, 0, 0, 0)), attributes.get("ceil_mode", 0)
    _require(attributes.get("auto_pad", b"NOTSET") == b"NOTSET" and x.kind == FLOAT, "auto_pad")
    _require([len(x.shape), len(kernel), len(strides), len(dilations), len(pads)] == [4, 2, 2, 2, 4], "not 2-d")
    _require(min(*kernel, *strides, *dilations) > 0 and min(pads) >= 0, "a size below 1")
    _require(max(*kernel, *strides, *dilations, *pads) <= MAX_WINDOW, "a size that is too large")
    sizes = []
    for side, size, stride, dilation, before, after in zip(
        x.shape[2:], kernel, strides, dilations, pads[:2], pads[2:], strict=True
    ):
        room = side + before + after - dilation * (size - 1) - 1
        count = (-(-room // stride) if up else room // stride) + 1
        count -= bool(up and (count - 1) * stride >= side + before)  # a window must not begin in the padding
        _require(count > 0, "a window larger than the image")
        sizes.append(count)
    return tuple(sizes)


def _conv(attributes: Attributes, x: Value, weight: Value, *bias: Value) -> Value:
    features, channels, *kernel = weight.shape
    _require(attributes.get("group", 1) == 1 and channels == x.shape[1], "other channels")
    _require(attributes.get("kernel_shape", tuple(kernel)) == tuple(kernel), "another kernel_shape")
    _require(all(one.shape == (features,) for one in bias) and len(bias) <= 1, "another bias")
    shape = x.shape[0], features, *_windows(attributes, x, tuple(kernel))
    return Value(shape, work=math.prod(shape) * channels * math.prod(kernel))


def _pool(attributes: Attributes, x: Value) -> Value:
    shape = *x.shape[:2], *_windows(attributes, x, attributes["kernel_shape"])
    return Value(shape, work=math.prod(shape) * math.prod(attributes["kernel_shape"]))


def _reduce(attributes: Attributes, x: Value, axes: Value) -> Value:
    _require(attributes.get("keepdims", 1) == 1 and x.kind == FLOAT and axes.known is not None, "other axes")
    chosen = {range(len(x.shape))[i] for i in axes.known.tolist()}  # type: ignore[union-attr]
    _require(bool(chosen), "no axes")
    return Value(tuple(1 if i in chosen else size for i, size in enumerate(x.shape)))


def _reshape(_: Attributes, x: Value, shape: Value) -> Value:
    wanted = shape.known.tolist()  # type: ignore[union-attr]
    _require(wanted.count(-1) <= 1 and all(size > 0 or size == -1 for size in wanted), "another shape")
    total, rest = math.prod(x.shape), math.prod(size for size in wanted if size > 0)
    new = tuple(total // rest if size == -1 else size for size in wanted)
    _require(math.prod(new) == total, "another number of elements")
    return Value(new, x.kind)


def _gemm(attributes: Attributes, x: Value, weight: Value, bias: Value) -> Value:
    (n, inputs), (first, second) = x.shape, weight.shape
    outputs, own = (first, second) if attributes.get("transB", 0) == 1 else (second, first)
    _require(attributes.get("transA", 0) == 0 and own == inputs and x.kind == FLOAT, "other features")
    _require(bias.shape == (outputs,), "another bias")
    return Value((n, outputs), work=n * inputs * outputs)


def _shape(attributes: Attributes, x: Value) -> Value:
    _require([attributes.get("start", 0), attributes["end"]] == [0, 1], "more than the first size")
    return Value((1,), INT64, number=x.shape[0])


def _squeeze(_: Attributes, x: Value) -> Value:
    return Value((), INT64, number=int(x.number))  # type: ignore[arg-type]  # TypeError for anything but a size


def _range(_: Attributes, start: Value, limit: Value, step: Value) -> Value:
    """No size may shrink where there are more images: then no number of them takes more than the most, a batch."""
    _require(start.known == 0 and step.known == 1, "it does not count from 0")
    return Value((int(limit.number),), INT64)  # type: ignore[arg-type]  # TypeError for anything but a size


def _unsqueeze(_: Attributes, x: Value, axes: Value) -> Value:
    rank = len(x.shape) + len(axes.known)  # type: ignore[arg-type]
    new, sizes = {range(rank)[i] for i in axes.known.tolist()}, iter(x.shape)  # type: ignore[union-attr]
    return Value(tuple(1 if i in new else next(sizes) for i in range(rank)), x.kind)


def _gather(attributes: Attributes, x: Value, rows: Value) -> Value:
    axis = range(len(x.shape))[attributes.get("axis", 0)]
    _require(rows.kind == INT64, "other rows")
    return Value((*x.shape[:axis], *rows.shape, *x.shape[axis + 1 :]), x.kind)


POOL = "auto_pad ceil_mode count_include_pad dilations kernel_shape pads storage_order strides"
RULES: dict[str, tuple[Callable[..., Value], str]] = {  # operator → its rule, the attributes that it may have
    "Add": (_broadcast, ""),
    "AveragePool": (_pool, POOL),
    "BatchNormalization": (_same, "epsilon momentum"),
    "Cast": (_cast, "to"),
    "Conv": (_conv, "auto_pad dilations group kernel_shape pads strides"),
    "Div": (_broadcast, ""),
    "Gather": (_gather, "axis"),
    "Gemm": (_gemm, "alpha beta transA transB"),
    "MaxPool": (_pool, POOL),
    "Mul": (_broadcast, ""),
    "Range": (_range, ""),
    "ReduceMax": (_reduce, "keepdims noop_with_empty_axes"),
    "ReduceMean": (_reduce, "keepdims noop_with_empty_axes"),
    "Relu": (_same, ""),
    "Reshape": (_reshape, "allowzero"),
    "Shape": (_shape, "end start"),
    "Softmax": (_softmax, "axis"),
    "Squeeze": (_squeeze, ""),
    "Sub": (_broadcast, ""),
    "Unsqueeze": (_unsqueeze, ""),
}
