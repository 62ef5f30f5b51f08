"""The check of a ``.onnx`` file before it is run: it may come from somebody else.

protobuf reads the few fields in ``SCHEMA`` and drops the rest: functions, sub-graphs, external data and sparse tensors
do not get any further. The operators must be those that ``export`` writes, each shape is computed before anything runs,
and onnxruntime receives the model as it was checked here, not the file.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from underhood.serving.operators import FLOAT, INT64, MAX_RANK, RULES, UINT8, Value, require

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
DISTANCES = "distances"
OPSETS = range(18, 100)  # of the operators; onnxruntime knows which it has
MAX_NODES = 500
MAX_NUMBERS = 2**28  # in all values of one image: 1 GB. vgg on 1024 × 1024 pixels has half as many
MAX_MULTIPLY_ADDS = 2 * 10**11  # for one image: resnet18 on 1024 × 1024 pixels takes a fifth
MAX_BATCH = 256  # images


class Checked(NamedTuple):
    """A model that may be run."""

    content: bytes  # the model as it was checked
    metadata: dict[str, str]
    shape: tuple[int, ...]  # of an image, c, h, w
    classes: int
    distances: bool  # whether it also returns the distance of each image in feature space
    batch: int  # images that may be run at once
    numbers: int  # in all values of one image, a measure of the time


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
    require(sets == [("", True)], "it uses other sets of operators")
    count = max(len(graph.node), len(graph.initializer))
    require(count <= MAX_NODES, f"it has more than {MAX_NODES} operators or constants")
    for node in graph.node:
        known = node.op_type in RULES and not node.domain
        require(known, f"operator {node.op_type!r} is not one that export writes")
    constants = {one.name: _constant(one) for one in graph.initializer}
    alone = (len(constants), len(graph.input)) == (len(graph.initializer), 1) and len(graph.output) in (1, 2)
    require(alone, "it has constants of one name, or several inputs or outputs")
    shape = _declared_input(graph.input[0])
    classes, batch, numbers = _check_outputs(graph, constants, shape)
    metadata = {one.key: one.value for one in model.metadata_props}
    return Checked(model.SerializeToString(), metadata, shape, classes, len(graph.output) > 1, batch, numbers)


def _check_outputs(graph: Any, constants: dict[str, Value], shape: tuple[int, ...]) -> tuple[int, int, int]:
    """(classes, images that may be run at once, numbers in all values of one image) of a graph.

    It returns probabilities, [n, classes], by Softmax, and nothing else or distances, [n]. shape: of an image, c, h, w
    """
    names = [one.name for one in graph.output]
    made = [one.op_type for name in names for one in graph.node if name in one.output]
    require(len(made) == len(names) and made[0] == "Softmax", "it does not end with Softmax")
    require(names[1:] in ([], [DISTANCES]), f"its second output is not {DISTANCES}")
    numbers, of_one = _follow(graph.node, constants | {INPUT: Value((1, *shape), UINT8)})
    result = of_one[names[0]].shape
    require(len(result) == 2 and INPUT not in constants, f"it returns {result} for an image")
    batch = max(1, min(MAX_BATCH, MAX_NUMBERS // numbers))
    _, of_batch = _follow(graph.node, constants | {INPUT: Value((batch, *shape), UINT8)}, batch)
    for output, sizes in zip(graph.output, [(result[1],), ()], strict=False):
        found, declared = of_batch[output.name], output.type.tensor_type
        require((found.shape, found.kind) == ((batch, *sizes), FLOAT), f"it returns {found.shape} for {batch} images")
        own = declared.elem_type, *(one.dim_value for one in declared.shape.dim[1:])
        require(own == (FLOAT, *sizes), "its output is not what it declares")
    return result[1], batch, numbers


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
    require(bool(np.isfinite(content).all()), f"constant {tensor.name!r} holds NaN or infinity")
    small = tensor.data_type == INT64 and content.size <= MAX_RANK
    return Value(shape, tensor.data_type, content.reshape(shape) if small else None)


def _declared_input(value: Any) -> tuple[int, ...]:
    """The shape of an image, c, h, w, of the input, which is ``pictures``, uint8 [any number, c, h, w]."""
    tensor = value.type.tensor_type
    first, *shape = tensor.shape.dim
    numbers = tuple(one.dim_value for one in shape)
    require(value.name == INPUT and tensor.elem_type == UINT8, f"its input is not {INPUT}, uint8")
    free = not first.HasField("dim_value")
    require(free and len(numbers) == 3 and min(numbers) > 0, "its input is not [n, c, h, w]")
    return numbers


def _follow(nodes: Any, values: dict[str, Value], images: int = 1) -> tuple[int, dict[str, Value]]:
    """(how many numbers are computed, all values by name), from those of constants and input. Runs nothing."""
    numbers, work = 0, 0
    for node in nodes:
        attributes = {one.name: _attribute(one) for one in node.attribute}
        rule, allowed = RULES[node.op_type]
        usual = set(attributes) <= set(allowed.split()) and len(attributes) == len(node.attribute)
        require(usual, f"operator {node.op_type!r} has attributes that export does not write")
        try:
            result = rule(attributes, *(values[name] for name in node.input))
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
            raise ValueError(f"operator {node.op_type!r} does not fit its inputs ({error})") from None
        results = [result] if isinstance(result, Value) else result
        own = len(node.output) == len(results) == len(set(node.output)) and not values.keys() & set(node.output)
        require(own, f"operator {node.op_type!r} has no output of its own name")
        values.update(zip(node.output, results, strict=True))
        numbers += sum(math.prod(one.shape) for one in results)
        work += sum(one.work for one in results)
        small = numbers <= MAX_NUMBERS and work <= MAX_MULTIPLY_ADDS * images
        within = small and all(len(one.shape) <= MAX_RANK for one in results)
        require(within, "it computes more than any model that export writes")
    return numbers, values


def _attribute(one: Any) -> Any:
    """The attribute's value: a number, a text, or a tuple of numbers."""
    kinds = {1: one.f, 2: one.i, 3: one.s, 7: tuple(one.ints)}
    require(one.type in kinds, f"attribute {one.name!r} is not one that export writes")
    return kinds[one.type]
