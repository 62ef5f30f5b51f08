"""Runs, models and names that come from somebody else: they are checked before they take time, memory or a terminal."""

import csv
import io
import json
import os
import resource
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from conftest import Outcome, fill, picture
from hypothesis import given, strategies as st
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import load_file, save_file

from underhood import ImageClassifier, Predictor, RunError, evaluate, export, predict, report, rerun, resume, train
from underhood.core.errors import UnderhoodError
from underhood.core.models import Architecture
from underhood.data.files import FORMULA, csv_text, printable, read_csv
from underhood.jobs.serve import _load
from underhood.preparation import Preparation
from underhood.pretrained import create_model
from underhood.runs.calibration import Calibration
from underhood.runs.checkpoint import Run, last_inputs, load_class_means, load_run
from underhood.serving.graph import RULES, check_graph
from underhood.serving.onnx import write_onnx
from underhood.training import Reporter

Command = Callable[..., Outcome]
FIRST_EDITION = Path(__file__).parent / "first_edition"
ESCAPES = "\x1b\r\x07\x9b\u202e\u2066\u2028"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("foreign") / "run"
    train("digits", model="linear", epochs=1, limit=200, out=out)
    export(out)
    return out


@pytest.fixture
def run(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "run"))


def one_line(error: object) -> str:
    text = str(error)
    assert "\n" not in text
    return text


# onnxruntime


def test_loading_an_exported_model_writes_no_file_and_turns_telemetry_off(run: Path, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    picture(1).save(tmp_path / "a.png")
    script = """
import os, sys
class Seen:
    def find_spec(self, name, *_):
        if name == "onnxruntime":
            print("imported with", os.environ.get("ORT_DISABLE_TELEMETRY"), file=sys.stderr)
sys.meta_path.insert(0, Seen())
from underhood.cli import main
main()
"""
    home = {name: str(tmp_path / "home") for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")}
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"} | home
    command = [sys.executable, "-c", script, "predict", run / "model.onnx", tmp_path / "a.png"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "imported with 1\n"
    assert [path.name for path in (tmp_path / "home").rglob("*") if path.is_file()] == []


def exported_model(model: str, channels: int, side: int, path: Path, calibrated: bool = False) -> Path:
    torch.manual_seed(0)
    architecture = Architecture(model, channels, side, side, 3)
    network = create_model(architecture).eval()
    run = Run(path.parent, network, architecture, tuple("abc"), Preparation(channels, side, side))
    if calibrated:
        shapes = (last_inputs(network), 2), (5, 2)
        arrays = [np.random.default_rng(0).normal(size=shape).astype(np.float32) for shape in shapes]
        run = replace(run, calibration=Calibration(1.5, 0.1, 0.9, (0.5, 0.4, 0.3), 0.8, *arrays))
    write_onnx(run, path)
    return path


def test_the_operators_that_may_run_are_those_that_export_writes(tmp_path: Path) -> None:
    found = set()
    for model, channels, side in (
        ("linear", 1, 8), ("net", 1, 28), ("conv", 1, 8), ("conv", 3, 67), ("vgg", 3, 31), ("vgg", 1, 1),
        ("resnet18", 1, 8), ("resnet18", 3, 64), ("efficientnet_lite0", 3, 65),
    ):  # fmt: skip
        calibrated = model in ("net", "conv", "efficientnet_lite0")
        path = exported_model(model, channels, side, tmp_path / "model.onnx", calibrated)
        found |= {node.op_type for node in onnx.load(path).graph.node}
        checked = check_graph(path.read_bytes())
        assert (checked.shape, checked.classes, checked.distances) == ((channels, side, side), 3, calibrated)
        network = Predictor.load(path)  # the model as it was checked runs
        assert network.outputs is not None
        probabilities, distances = network.outputs(np.zeros((3, channels, side, side), np.uint8))
        assert probabilities.shape == (3, 3)
        assert (distances is not None and distances.shape == (3,)) == calibrated
    assert found == set(RULES)


def metadata(**changes: Any) -> str:
    header = {
        "format": 1, "run": "one", "model": "linear", "classes": ["a", "b"], "threshold": 0.5, "metrics": {},
        "preparation": Preparation(1, 8, 8).as_dict(), "ideals": None,
    }  # fmt: skip
    return json.dumps(header | changes)


def constant(name: str, array: Any) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(array), name)


def model_file(
    path: Path, *before: onnx.NodeProto, constants: Any = (), last: str = "Softmax", side: int = 8, text: str = "",
    weight: float = 0.01, features: int | None = None, **more: Any,
) -> Path:  # fmt: skip
    """A model of one matrix, of nodes before it, which turn ``x``, float [n, 1, h, w], into ``y``, and of metadata."""
    shape = ["n", 1, side, side]
    nodes = [
        helper.make_node("Cast", ["pictures"], ["x"], to=TensorProto.FLOAT),
        *(before or [helper.make_node("Relu", ["x"], ["y"])]),
        helper.make_node("Reshape", ["y", "flat"], ["rows"]),
        helper.make_node("Gemm", ["rows", "weight", "bias"], ["logits"], transB=1),
        helper.make_node(last, ["logits"], ["probabilities"], **({"axis": 1} if last == "Softmax" else {})),
    ]
    inside = np.full((2, features or side * side), weight, np.float32)
    inside[0] = 0
    initializers = [
        constant("flat", np.array([-1, inside.shape[1]])), constant("weight", inside),
        constant("bias", np.zeros(2, np.float32)), *constants,
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes, "foreign",
        [helper.make_tensor_value_info("pictures", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 2])], initializers,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10, **more)
    helper.set_model_props(model, {"underhood": text or metadata(preparation=Preparation(1, side, side).as_dict())})
    onnx.save(model, path)
    return path


def endless_loop() -> onnx.NodeProto:
    """A loop of 9 · 10¹⁸ turns, each of which keeps the condition true."""
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["again"]), helper.make_node("Sin", ["state"], ["next"])], "body",
        [value("turn", TensorProto.INT64, []), value("go", TensorProto.BOOL, []), value("state", 1, None)],
        [value("again", TensorProto.BOOL, []), value("next", 1, None)],
    )  # fmt: skip
    return helper.make_node("Loop", ["turns", "true", "x"], ["y"], body=body)


def if_node() -> onnx.NodeProto:
    branch = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["z"])], "branch", [], [helper.make_tensor_value_info("z", 1, None)]
    )
    return helper.make_node("If", ["true"], ["y"], then_branch=branch, else_branch=branch)


def node(kind: str, inputs: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs.split(), ["y"], **attributes)


TRUE, TURNS = constant("true", True), constant("turns", np.iinfo(np.int64).max)
LARGE = constant("shape", np.array([1, 1, 10**6, 10**6]))
HOSTILE: dict[str, tuple[list[onnx.NodeProto], list[onnx.TensorProto]]] = {  # what → nodes, constants
    "an endless Loop": ([endless_loop()], [TRUE, TURNS]),
    "If": ([if_node()], [TRUE]),
    "Expand": ([node("Expand", "x shape")], [LARGE]),
    "Tile": ([node("Tile", "x shape")], [LARGE]),
    "ConstantOfShape": ([node("ConstantOfShape", "shape")], [LARGE]),
    "Pad": ([node("Pad", "x pads")], [constant("pads", np.array([0, 0, 0, 0, 0, 0, 10**5, 10**5]))]),
    "a convolution with padding": (
        [node("Conv", "x filter", pads=[10**6] * 4)], [constant("filter", np.ones((1, 1, 1, 1), np.float32))],
    ),
    "a million features": (
        [
            helper.make_node("Conv", ["x", "filter"], ["a"], pads=[512] * 4),
            helper.make_node("Conv", ["a", "filter2"], ["y"], pads=[512] * 4),
        ],
        [
            constant("filter", np.ones((1, 1, 1, 1), np.float32)),
            constant("filter2", np.ones((100_000, 1, 1, 1), np.float32)),
        ],
    ),
    "an addition of all pairs": (
        [
            helper.make_node("Unsqueeze", ["x", "axis"], ["u"]), helper.make_node("Mul", ["u", "x"], ["v"]),
            helper.make_node("Unsqueeze", ["v", "axis"], ["w"]), helper.make_node("Mul", ["w", "x"], ["y"]),
        ],
        [constant("axis", np.array([1]))],
    ),
    "a long Range": (
        [
            helper.make_node("Range", ["zero", "turns", "one"], ["r"]),
            helper.make_node("Gather", ["x", "r"], ["y"], axis=1),
        ],
        [constant("zero", np.int64(0)), constant("one", np.int64(1)), TURNS],
    ),
    "a Range that Squeeze makes a single number": (  # onnxruntime would compute all pairs, triples …
        [
            helper.make_node("Shape", ["x"], ["n1"], start=0, end=1), helper.make_node("Squeeze", ["n1"], ["n"]),
            helper.make_node("Range", ["zero", "n", "one"], ["r"]), helper.make_node("Squeeze", ["r"], ["s"]),
            helper.make_node("Mul", ["s", "zero"], ["z"]), helper.make_node("Unsqueeze", ["z", "axis"], ["i"]),
            helper.make_node("Gather", ["x", "i"], ["g"], axis=1), node("Gather", "g i", axis=1),
        ],
        [
            constant("zero", np.int64(0)), constant("one", np.int64(1)), constant("axis", np.array([0])),
        ],
    ),
    "a Range that begins with the number of images": (  # 150 images would be more than one, or 256
        [
            helper.make_node("Shape", ["x"], ["s"], start=0, end=1), helper.make_node("Squeeze", ["s"], ["n"]),
            helper.make_node("Range", ["n", "many", "one"], ["r"]), helper.make_node("Mul", ["r", "zero"], ["i"]),
            helper.make_node("Gather", ["x", "i"], ["g"], axis=1), helper.make_node("ReduceMean", ["g", "axes"], ["y"]),
        ],
        [
            constant("zero", np.int64(0)), constant("many", np.int64(300)), constant("one", np.int64(1)),
            constant("axes", np.array([1])),
        ],
    ),
    "a value of many dimensions": ([node("Unsqueeze", "x axes")], [constant("axes", np.arange(6))]),
    "a value of a million dimensions": ([node("Unsqueeze", "x axes")], [constant("axes", np.arange(10**6))]),
    "an operator of another set": ([helper.make_node("Relu", ["x"], ["y"], domain="com.microsoft")], []),
    "an input that is nowhere": ([node("Relu", "nowhere")], []),
    "an attribute that export does not write": ([node("Conv", "x filter", group=1, auto_pad="SAME_UPPER")],
                                                [constant("filter", np.ones((1, 1, 3, 3), np.float32))]),
    "a constant that is NaN": ([node("Add", "x nan")], [constant("nan", np.float32("nan"))]),
}  # fmt: skip


REASONS = {
    "a convolution with padding": "a size that is too large",
    "a million features": "computes more than any model",
    "an addition of all pairs": "it returns (65536, 2) for 256 images",
    "a long Range": "operator 'Range' does not fit its inputs",
    "a Range that Squeeze makes a single number": "operator 'Squeeze' does not fit its inputs",
    "a Range that begins with the number of images": "it does not count from 0",
    "a value of many dimensions": "computes more than any model",
    "a value of a million dimensions": "operator 'Unsqueeze' does not fit its inputs",
    "an input that is nowhere": "does not fit its inputs ('nowhere')",
    "an attribute that export does not write": "auto_pad",
    "a constant that is NaN": "holds NaN or infinity",
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_graph_that_export_does_not_write_is_refused_before_it_runs(what: str, tmp_path: Path) -> None:
    nodes, constants = HOSTILE[what]
    path = model_file(tmp_path / "foreign.onnx", *nodes, constants=constants)
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    with pytest.raises(RunError, match=r"foreign\.onnx was not written by underhood export") as error:
        Predictor.load(path)
    assert REASONS.get(what, "is not one that export writes") in one_line(error.value)
    assert time.monotonic() - started < 30
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 2 * 10**8


@pytest.mark.parametrize(
    ("count", "outputs", "attributes", "reason"),
    [
        (1, ["most", "places"], {}, ""),
        (3, ["most", "places"], {}, "'TopK' does not fit its inputs"),  # of two logits
        (0, ["most", "places"], {}, "'TopK' does not fit its inputs"),
        (1, ["most"], {}, "no output of its own name"),
        (1, ["most", "most"], {}, "no output of its own name"),
        (1, ["most", "logits"], {}, "no output of its own name"),
        (1, ["most", "places"], {"axis": 0}, "'TopK' does not fit its inputs"),
        (1, ["most", "places"], {"largest": 0}, "'TopK' does not fit its inputs"),
    ],
)
def test_the_largest_numbers_are_those_of_a_row(
    count: int, outputs: list[str], attributes: dict[str, int], reason: str, tmp_path: Path
) -> None:
    model = onnx.load(model_file(tmp_path / "plain.onnx"))
    model.graph.initializer.extend([constant("count", np.array([count])), constant("axis", np.array([1]))])
    mean = helper.make_node("ReduceMean", ["most", "axis"], ["distances"], keepdims=0)
    model.graph.node.extend([helper.make_node("TopK", ["logits", "count"], outputs, **attributes), mean])
    model.graph.output.append(helper.make_tensor_value_info("distances", TensorProto.FLOAT, ["n"]))
    (tmp_path / "topk.onnx").write_bytes(model.SerializeToString())
    if not reason:
        outputs_of = Predictor.load(tmp_path / "topk.onnx").outputs
        assert outputs_of is not None
        _, distances = outputs_of(np.zeros((3, 1, 8, 8), np.uint8))
        assert distances is not None
        assert distances.shape == (3,)
        return
    with pytest.raises(RunError, match=reason) as error:
        Predictor.load(tmp_path / "topk.onnx")
    one_line(error.value)


def test_functions_and_external_data_do_not_reach_onnxruntime(tmp_path: Path) -> None:
    own = helper.make_function(
        "own", "Fast", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])], [helper.make_opsetid("", 20)]
    )
    path = model_file(tmp_path / "function.onnx", helper.make_node("Fast", ["x"], ["y"], domain="own"), functions=[own])
    with pytest.raises(RunError, match="operator 'Fast' is not one that export writes"):
        Predictor.load(path)
    model = onnx.load(model_file(tmp_path / "plain.onnx"))
    onnx.save(model, tmp_path / "external.onnx", save_as_external_data=True, location="secret", size_threshold=0)
    with pytest.raises(RunError, match="does not have the numbers that it declares"):
        Predictor.load(tmp_path / "external.onnx")


def test_a_model_without_softmax_or_with_other_dimensions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="does not end with Softmax"):
        Predictor.load(model_file(tmp_path / "logits.onnx", last="Relu"))
    assert Predictor.load(model_file(tmp_path / "plain.onnx")).probabilities(np.zeros((3, 1, 8, 8), np.uint8)).shape
    changes: list[tuple[str, Callable[[Any], Any]]] = [
        ("numbers that it declares", lambda model: model.graph.initializer[1].dims.__setitem__(1, 10**9)),
        ("numbers that it declares", lambda model: model.graph.initializer[1].dims.__setitem__(1, -64)),
        ("several inputs", lambda model: model.graph.initializer.append(model.graph.initializer[0])),
        ("not pictures", lambda model: setattr(model.graph.input[0].type.tensor_type, "elem_type", 1)),
        (r"it returns \(1250000, 2\) for 10 images",
         lambda model: setattr(model.graph.input[0].type.tensor_type.shape.dim[2], "dim_value", 10**6)),
        ("other sets of operators", lambda model: setattr(model.opset_import[0], "version", 9)),
        ("what it declares", lambda model: setattr(model.graph.output[0].type.tensor_type, "elem_type", 7)),
        ("more than 500", lambda model: model.graph.node.extend([model.graph.node[0]] * 500)),
    ]  # fmt: skip
    for reason, change in changes:
        model = onnx.load(tmp_path / "plain.onnx")
        change(model)
        (tmp_path / "changed.onnx").write_bytes(model.SerializeToString())
        with pytest.raises(RunError, match=reason) as error:
            Predictor.load(tmp_path / "changed.onnx")
        one_line(error.value)


def test_a_second_output_is_distances_of_one_number_for_each_image(tmp_path: Path) -> None:
    """Beside ``y``, the graph may return the number for each image that ReduceMax makes of the logits."""
    sizes: list[tuple[str, list[Any], list[onnx.NodeProto]]] = [
        ("distances", ["n"], [helper.make_node("ReduceMax", ["logits", "axis"], ["distances"], keepdims=0)]),
        ("nearest", ["n"], [helper.make_node("ReduceMax", ["logits", "axis"], ["nearest"], keepdims=0)]),
        ("distances", ["n", 1], [helper.make_node("ReduceMax", ["logits", "axis"], ["distances"], keepdims=1)]),
        ("distances", [], [helper.make_node("ReduceMax", ["logits", "both"], ["distances"], keepdims=0)]),
        ("distances", ["n"], [helper.make_node("Shape", ["logits"], ["distances"], start=0, end=1)]),
        ("distances", ["n"], []),
        ("weight", ["n"], []),
    ]
    found = []
    for number, (name, size, nodes) in enumerate(sizes):
        model = onnx.load(model_file(tmp_path / "plain.onnx"))
        model.graph.initializer.extend([constant("axis", np.array([1])), constant("both", np.array([0, 1]))])
        model.graph.node.extend(nodes)
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, size))
        (tmp_path / f"{number}.onnx").write_bytes(model.SerializeToString())
        try:
            outputs = Predictor.load(tmp_path / f"{number}.onnx").outputs
            assert outputs is not None
            found.append(str([one.shape for one in outputs(np.zeros((3, 1, 8, 8), np.uint8)) if one is not None]))
        except RunError as error:
            found.append(one_line(error))
    expected = [
        "[(3, 2), (3,)]", "its second output is not distances", "it returns (256, 1)", "it returns ()",
        "it returns (1,)", "it does not end with Softmax", "it does not end with Softmax",
    ]  # fmt: skip
    assert [part in text for part, text in zip(expected, found, strict=True)] == [True] * len(sizes), found


def test_a_distance_of_nan_rejects_in_one_line(tmp_path: Path) -> None:
    model = onnx.load(model_file(tmp_path / "nan.onnx"))
    model.graph.initializer.extend([constant("axis", np.array([1])), constant("zero", np.float32(0))])
    model.graph.node.extend([
        helper.make_node("ReduceL2", ["rows", "axis"], ["length"], keepdims=0),
        helper.make_node("Mul", ["length", "zero"], ["nothing"]),
        helper.make_node("Div", ["nothing", "nothing"], ["distances"]),
    ])  # fmt: skip
    model.graph.output.append(helper.make_tensor_value_info("distances", TensorProto.FLOAT, ["n"]))
    onnx.save(model, tmp_path / "nan.onnx")
    with pytest.raises(RunError, match=r"nan\.onnx computes a distance of NaN") as error:
        Predictor.load(tmp_path / "nan.onnx").answers(np.ones((3, 1, 8, 8), np.uint8))
    one_line(error.value)


BOMB = "eJzt" + "A" * 300_000
READ = {"temperature": 1.5, "coverage": 0.9, "limits": [0.5, 0.4], "distance_limit": None}  # how outputs are read


@pytest.mark.parametrize(
    "changes",
    [
        {"classes": ["a", "a"]}, {"classes": list("abc")}, {"classes": "ab"}, {"classes": [1, 2]}, {"classes": None},
        {"preparation": {"channels": 1, "height": 12_000, "width": 12_000, "fit": "pad"}},
        {"preparation": {"channels": 1, "height": True, "width": 8, "fit": "pad"}},
        {"preparation": {"channels": 1, "height": 9, "width": 8, "fit": "pad"}},
        {"preparation": {"channels": 3, "height": 8, "width": 8, "fit": "pad"}},
        {"threshold": 28.9}, {"threshold": float("nan")}, {"threshold": -1}, {"threshold": True}, {"threshold": "0.5"},
        {"threshold": None}, {"metrics": {"accuracy": float("nan")}}, {"metrics": ["accuracy"]},
        {"metrics": {"accuracy": "high"}}, {"ideals": "AAAA"}, {"ideals": 5}, {"ideals": BOMB}, {"format": "one"},
        {"format": None}, {"calibration": None}, {"calibration": []}, {"calibration": {}},
        {"calibration": READ | {"temperature": float("nan")}}, {"calibration": READ | {"temperature": 0}},
        {"calibration": READ | {"temperature": True}}, {"calibration": READ | {"temperature": 1e400}},
        {"calibration": READ | {"limits": [0.5]}}, {"calibration": READ | {"limits": [0.5, -0.5]}},
        {"calibration": READ | {"limits": [0.5] * 100_000}}, {"calibration": READ | {"limits": [0.5, float("nan")]}},
        {"calibration": READ | {"limits": "ab"}}, {"calibration": READ | {"coverage": 95}},
        {"calibration": READ | {"coverage": "0.95"}}, {"calibration": READ | {"distance_limit": -2}},
        {"calibration": READ | {"distance_limit": 0.5}},  # the model returns no distances
    ],
)  # fmt: skip
def test_metadata_that_lies_is_refused_in_one_line(changes: dict[str, Any], tmp_path: Path) -> None:
    path = model_file(tmp_path / "lies.onnx", text=metadata(**changes))
    with pytest.raises(RunError, match=r"lies\.onnx") as error:
        Predictor.load(path)
    one_line(error.value)


def test_class_means_are_not_unpacked_beyond_their_size(tmp_path: Path) -> None:
    import base64
    import zlib

    bomb = base64.b64encode(zlib.compress(bytes(2 * 10**8), 9)).decode()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    text = metadata(ideals=bomb, preparation=Preparation(1, 1024, 1024).as_dict())
    path = model_file(tmp_path / "bomb.onnx", text=text, side=1024)
    with pytest.raises(RunError, match="class means are larger"):
        Predictor.load(path)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 2 * 10**8
    deep = model_file(tmp_path / "deep.onnx", text="[" * 100_000)
    with pytest.raises(RunError, match="nested too deeply"):
        Predictor.load(deep)


def test_a_model_that_computes_nan_predicts_nothing(tmp_path: Path, underhood: Command) -> None:
    path = model_file(tmp_path / "overflow.onnx", weight=3e38)
    picture(1, 8, 8).save(tmp_path / "a.png")
    failed = underhood("predict", path, tmp_path / "a.png", "--json")
    assert (failed.code, failed.out) == (1, "")
    assert failed.err == f"error: {path} predicts a probability of nan: its weights are damaged, so train again\n"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_model_that_takes_long(number: int, tmp_path: Path) -> None:
    """Convolutions of 2 · 10¹¹ multiply-adds for an image, the most that is allowed: minutes for these images."""
    filters = [("f1", np.full((64, 1, 3, 3), 0.01, np.float32)), ("f2", np.full((64, 64, 7, 7), 0.0001, np.float32))]
    last = constant("f3", np.full((1, 64, 1, 1), 0.01, np.float32))
    nodes = [helper.make_node("Conv", ["x", "f1"], ["c0"], pads=[1] * 4)]
    nodes += [helper.make_node("Conv", [f"c{i}", "f2"], [f"c{i + 1}"], pads=[3] * 4) for i in range(3)]
    nodes += [helper.make_node("Conv", ["c3", "f3"], ["y"])]
    constants = [constant(*one) for one in filters]
    path = model_file(tmp_path / "slow.onnx", *nodes, constants=[*constants, last], side=512, weight=1e-6)
    for i in range(40):
        picture(i, 512, 512).save(tmp_path / f"{i}.png")
    script = """
import sys
from underhood.serving import onnx
run = onnx._run
onnx._run = lambda *given: print("runs", flush=True) or run(*given)
from underhood.cli import main
main()
"""
    command = [sys.executable, "-c", script, "predict", str(path), *map(str, tmp_path.glob("*.png"))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "runs\n"
            time.sleep(1)
            process.send_signal(number)
            _, error = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 128 + number
    assert error in ("error: interrupted\n", "error: terminated\n")


# what a run declares


class Lines(Reporter):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def log(self, line: str) -> None:
        self.lines.append(line)


def test_serve_refuses_another_model_under_the_same_certificate(run: Path) -> None:
    lines = Lines()
    assert "load_onnx" in _load(run, lines).probabilities.__qualname__
    model = onnx.load(run / "model.onnx")
    bias = next(one for one in model.graph.initializer if list(one.dims) == [10])
    bias.CopyFrom(numpy_helper.from_array(np.eye(10, dtype=np.float32)[2] * 100, bias.name))
    onnx.save(model, run / "model.onnx")
    with pytest.raises(RunError, match=rf"model\.onnx is not the file that parity\.json .* underhood export {run}"):
        _load(run, lines)
    certificate = json.loads((run / "parity.json").read_text())
    (run / "parity.json").write_text(json.dumps(certificate | {"model_sha256": None}))
    with pytest.raises(RunError, match="is not the file that parity"):
        _load(run, lines)
    export(run)
    tensors = load_file(run / "weights.safetensors")
    from safetensors import safe_open

    with safe_open(run / "weights.safetensors", "pt") as file:
        header = file.metadata()
    save_file({name: tensor + 0.5 for name, tensor in tensors.items()}, run / "weights.safetensors", header)
    with pytest.raises(RunError, match="exported from other weights"):
        _load(run, lines)
    assert lines.lines == []


def test_serve_uses_the_weights_where_the_certificate_has_no_hashes(run: Path) -> None:
    certificate = json.loads((run / "parity.json").read_text())
    old = {name: certificate[name] for name in ("onnx", "largest_difference", "agreement", "images")}
    (run / "parity.json").write_text(json.dumps(old))
    lines = Lines()
    assert "load_onnx" not in _load(run, lines).probabilities.__qualname__
    (line,) = lines.lines
    assert "has no hashes" in line
    assert f"underhood export {run}" in line


def with_weights(run: Path, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    from safetensors import safe_open

    tensors = load_file(run / "weights.safetensors")
    with safe_open(run / "weights.safetensors", "pt") as file:
        header = file.metadata()
    name = next(name for name in tensors if name.endswith("weight"))
    save_file(tensors | {name: change(tensors[name])}, run / "weights.safetensors", header)


def test_nan_is_never_a_prediction(run: Path, tmp_path: Path, underhood: Command) -> None:
    picture(1, 8, 8).save(tmp_path / "a.png")
    with_weights(run, lambda weight: weight * float("nan"))
    for command in (["predict", run, tmp_path / "a.png"], ["evaluate", run], ["serve", run, "--port", 0]):
        failed = underhood(*command)
        assert (failed.code, failed.out) == (1, "")
        assert "weights.safetensors" in failed.err
        assert "2.weight holds NaN or infinity" in one_line(failed.err.strip())


def test_weights_that_overflow_predict_nothing(run: Path, tmp_path: Path, underhood: Command) -> None:
    picture(1, 8, 8).save(tmp_path / "a.png")
    with_weights(run, lambda weight: torch.full_like(weight, 3e38))
    for command in (["predict", run, tmp_path / "a.png", "--json"], ["evaluate", run, "--json"]):
        failed = underhood(*command)
        assert (failed.code, failed.out) == (1, "")
        assert f"{run}: the model predicts a probability of nan" in one_line(failed.err.strip())
    with pytest.raises(RunError, match="probability of nan"):
        Predictor.load(run).probabilities(np.full((40, 1, 8, 8), 200, np.uint8))


def test_the_estimator_predicts_no_nan() -> None:
    rows = np.random.default_rng(0).normal(size=(20, 16)).astype(np.float32)
    classifier = ImageClassifier("linear", epochs=1, random_state=0).fit(rows, np.arange(20) % 2)
    with torch.no_grad():
        for parameter in classifier.model_.parameters():
            parameter.fill_(float("nan"))
    with pytest.raises(ValueError, match="probability of nan"):
        classifier.predict(rows)


def weights_file(folder: Path, tensors: dict[str, Any], **header: Any) -> Path:
    """A safetensors file of these tensors with a header for ``linear`` on 8 × 8 grey pixels."""
    folder.mkdir(exist_ok=True)
    shape = {"channels": 1, "height": 8, "width": 8}
    whole = {
        "format": 1, "architecture": {"model": "linear", "classes": 2, "stem": None, **shape}, "classes": ["a", "b"],
        "preparation": {"fit": "pad", **shape}, "threshold": 0.0,
    }  # fmt: skip
    save_file(tensors, folder / "weights.safetensors", {"underhood": json.dumps(whole | header)})
    return folder


SIDES = {"channels": 1, "height": 12_000, "width": 12_000}


@pytest.mark.parametrize(
    "header",
    [
        {"architecture": {"model": "linear", "classes": 2, **SIDES}, "preparation": {"fit": "pad", **SIDES}},
        {"architecture": {"model": "linear", "classes": 10**9, "channels": 1, "height": 8, "width": 8}},
        {"preparation": {"fit": "pad", **SIDES}},
        {"preparation": {"fit": "pad", "channels": 1, "height": True, "width": 8}},
        {
            "architecture": {"model": "linear", "classes": 2, "channels": 1, "height": True, "width": 1},
            "preparation": {"fit": "pad", "channels": 1, "height": 1, "width": 1},
        },
        {"threshold": float("nan")}, {"threshold": 1e400}, {"threshold": [0.5]}, {"classes": ["a", "a"]},
        {"classes": {"a": 1, "b": 2}},
    ],
)  # fmt: skip
def test_a_small_file_that_declares_much_is_refused_before_memory_is_taken(
    header: dict[str, Any], tmp_path: Path
) -> None:
    folder = weights_file(tmp_path / "run", {"0.mean": torch.zeros(1, 1, 1)}, **header)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(RunError, match=r"weights\.safetensors does not hold what its metadata says") as error:
        load_run(folder)
    one_line(error.value)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 2 * 10**8


def test_a_large_model_of_a_small_file_takes_no_memory(tmp_path: Path) -> None:
    sides = {"channels": 3, "height": 1024, "width": 1024}  # within bounds, but 3 · 10⁹ weights
    header = {
        "architecture": {"model": "linear", "classes": 1000, **sides}, "preparation": {"fit": "pad", **sides},
        "classes": [str(i) for i in range(1000)],
    }  # fmt: skip
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(RunError, match="the tensors are not those of linear"):
        load_run(weights_file(tmp_path / "run", {"0.mean": torch.zeros(1, 1, 1)}, **header))
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 2 * 10**8


def test_loading_draws_no_random_numbers_and_keeps_the_bits(exported: Path) -> None:
    torch.manual_seed(7)
    state = torch.get_rng_state()
    loaded = load_run(exported)
    assert torch.equal(torch.get_rng_state(), state)
    kept = load_file(exported / "weights.safetensors")
    assert all(torch.equal(tensor, kept[name]) for name, tensor in loaded.model.state_dict().items())
    assert all(parameter.requires_grad for parameter in loaded.model.parameters())


def test_class_means_that_declare_much_take_no_memory(run: Path) -> None:
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (1000000, 1000, 1000), }"
    header += b" " * (118 - len(header) - 1) + b"\n"
    (run / "ideals.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
    assert load_class_means(run, load_run(run)) is None


DAMAGED_CONFIG: dict[str, Any] = {
    "epochs": 1.5, "seed": 2**70, "limit": True, "size": 12_000, "lr": float("nan"),
    "channels": True, "save_every": float("inf"),
    "batch_size": 0, "valid": "half", "schedule": "steep", "optimizer": None, "effort": 3,
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED_CONFIG)
def test_options_of_a_foreign_run_have_the_bounds_of_the_command_line(
    name: str, run: Path, tmp_path: Path, underhood: Command
) -> None:
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {name: DAMAGED_CONFIG[name]}))
    (run / "report.html").unlink()
    commands = [["rerun", run, "--out", tmp_path / "again"], ["report", run]]
    commands += [["evaluate", run]] if name in ("seed", "limit", "valid") else []
    for command in commands:
        failed = underhood(*command)
        assert (failed.code, failed.out) == (1, ""), command
        assert "config.json" in one_line(failed.err.strip())
    (run / "predictions.csv").unlink()
    failed = underhood("train", "--resume", run)
    assert failed.code == 1
    assert "config.json" in one_line(failed.err.strip())


@pytest.mark.parametrize("name", ["config.json", "data.json", "environment.json", "parity.json"])
def test_json_nested_a_hundred_thousand_deep_is_one_line(name: str, run: Path, tmp_path: Path) -> None:
    (run / name).write_text('{"a": ' + "[" * 100_000)
    refused = 0
    for job in (lambda: evaluate(run), lambda: report(run), lambda: rerun(run, out=tmp_path / "again"),
                lambda: _load(run, Reporter())):  # fmt: skip
        try:
            job()
        except UnderhoodError as error:
            refused += "nested too deeply" in one_line(error)
    assert refused
    deep = {"0.mean": torch.zeros(1, 1, 1)}
    weights_file(tmp_path / "deep", deep)
    save_file(deep, tmp_path / "deep" / "weights.safetensors", {"underhood": "[" * 100_000})
    with pytest.raises(RunError, match="was not written by underhood"):
        load_run(tmp_path / "deep")


FILES = [
    "config.json", "data.json", "environment.json", "parity.json", "model.onnx", "weights.safetensors",
    "state.safetensors", "metrics.csv", "steps.csv", "layers.csv", "predictions.csv", "pictures.csv", "ood.csv",
    "suspects.csv", "ideals.npy", "augmented.png", "log.txt", "learning_curve.csv",
]  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_pipe_in_place_of_a_file_is_never_waited_for(name: str, run: Path, tmp_path: Path) -> None:
    (run / name).unlink(missing_ok=True)
    os.mkfifo(run / name)
    image = fill(tmp_path, {"a.png": 1}) / "a.png"
    jobs: list[Callable[[], object]] = [
        lambda: predict(run, image), lambda: predict(run / "model.onnx", image), lambda: evaluate(run),
        lambda: _load(run, Reporter()), lambda: report(run), lambda: rerun(run, out=tmp_path / "again"),
        lambda: resume(run),
    ]  # fmt: skip
    before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it waits for the pipe"))
    signal.alarm(100)
    try:
        for job in jobs:
            try:
                job()
            except UnderhoodError as error:
                one_line(error)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_no_link_in_a_foreign_run_is_written_through(run: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_text("keep")
    names = ("report.html", "parity.json", "metrics.csv", "steps.csv", "weights.safetensors", "predictions.csv")
    for name in (".model.part.onnx", *(f".{name}.part" for name in names)):
        (run / name).symlink_to(mine)
    export(run)
    report(run)
    (run / "predictions.csv").unlink()
    resume(run)
    (run / "predictions.csv").unlink()
    (run / "log.txt").unlink()
    (run / "log.txt").symlink_to(mine)
    with pytest.raises(RunError, match=r"cannot write .*log\.txt"):
        resume(run)
    (run / "log.txt").unlink()
    os.mkfifo(run / "log.txt")
    with pytest.raises(RunError, match=r"cannot write .*log\.txt"):
        resume(run)
    assert mine.read_text() == "keep"
    assert not mine.is_symlink()


def test_files_of_many_zeros_are_not_read_as_a_whole(run: Path) -> None:
    for name in ("config.json", "pictures.csv", "metrics.csv", "predictions.csv", "model.onnx", "weights.safetensors"):
        os.truncate(run / name, 5 * 10**9)  # takes no room on the disk
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for job in (lambda: evaluate(run), lambda: report(run), lambda: predict(run / "model.onnx", run)):
        with pytest.raises(UnderhoodError) as error:
            job()
        one_line(error.value)
    with pytest.raises(ValueError, match="characters or more"):
        read_csv(run / "predictions.csv")
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 10**9


# names

NAMES = [
    r"$\foo$", "$5_$6", "$$", "=cmd|' calc'!A0", "+1+1", "-1+1", "@SUM(A1)", "'=1", "[red]x[-red]",
    "a\nerror: forged", "\x1b[31mred", "gnp.\u202efdp", "\t=1", ":smile:", "<b>",
]  # fmt: skip


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images in class folders of hostile names."""
    root = tmp_path_factory.mktemp("names") / "data"
    for number, name in enumerate(NAMES):
        fill(root, {f"{name}/{i}{name[:2]}.png": 20 * number + i for i in range(4)})
    return root


def test_names_are_no_markup_and_no_commands(named: Path, underhood: Command) -> None:
    done = underhood("train", named, "--model", "linear", "--epochs", 1, "--out", "run")
    assert done.code == 0, done.err
    checks = [done, underhood("report", "run"), underhood("evaluate", "run"), underhood("check", named)]
    checks += [underhood("predict", "run", named), underhood("rerun", "run", "--out", "again")]
    for outcome in checks:
        assert outcome.code == 0, outcome.err
        text = outcome.out + outcome.err
        assert not set(text) & set(ESCAPES)
        assert "error: forged" not in text.splitlines()
        assert not any(line.startswith("error") for line in text.splitlines())
    assert "weights, metrics and predictions are equal, byte for byte" in checks[-1].out
    assert "[red]x[-red]" in checks[2].out
    assert r"a\nerror: forged" in checks[4].out
    page = Path("run/report.html").read_text()
    assert not set(page) & set(ESCAPES)
    for shown in (r"$\foo$", "$5_$6", "$$", "=cmd|&#39; calc&#39;!A0", r"\x1b[31mred", "&lt;b&gt;"):
        assert shown in page
    svg = page[page.index("Confusion matrix</h2>") :]
    assert r">$\foo$<" in svg[: svg.index("</svg>")]
    for name in ("pictures.csv", "predictions.csv"):
        with Path("run", name).open(newline="", errors="surrogateescape") as file:
            for row in csv.reader(file):
                assert not any(FORMULA.match(cell) and cell[0] != "'" for cell in row), row


def test_csv_of_predict_keeps_names_for_programs_and_not_for_spreadsheets(named: Path, underhood: Command) -> None:
    underhood("train", named, "--model", "linear", "--epochs", 1, "--out", "run", "--no-report")
    rows = list(csv.DictReader(io.StringIO(underhood("predict", "run", named, "--csv").out)))
    assert len(rows) == 4 * len(NAMES)
    assert {row["label"][1:] if FORMULA.match(row["label"]) else row["label"] for row in rows} <= set(NAMES)
    assert not any(row["label"][0] in "=+-@\t" for row in rows)


def test_an_error_about_a_file_is_one_line_whatever_its_name(named: Path, tmp_path: Path, underhood: Command) -> None:
    bad = tmp_path / "x\nerror: forged\x1b[2J\u202e.png"
    bad.write_bytes(b"no image")
    fill(tmp_path / "data", {"a/1.png": 1, "a/2.png": 2, "b/1.png": 3, "b/2.png": 4})
    shutil.copy(bad, tmp_path / "data/a" / bad.name)
    failed = underhood("train", tmp_path / "data", "--out", "run")
    assert failed.code == 1
    assert len(failed.err.splitlines()) == 2  # the count, and the one image
    assert r"x\nerror: forged\x1b[2J\u202e.png: is not an image" in failed.err
    underhood("train", "--model", "linear", "--epochs", 1, "--limit", 50, "--out", "run", "--no-report")
    failed = underhood("predict", "run", bad)
    assert failed.code == 1
    assert r"x\nerror: forged\x1b[2J\u202e.png is not an image" in one_line(failed.err.strip())
    failed = underhood("predict", bad.parent / "no\x1b]0;such\nrun", bad)
    assert r"no\x1b]0;such\nrun" in one_line(failed.err.strip())


def test_a_notebook_draws_names_as_they_are() -> None:
    import matplotlib as mpl

    mpl.use("agg")
    from underhood.core.images import Dataset, Images
    from underhood.core.loader import DataLoaders
    from underhood.display.notebook import show_batch

    images = Images(np.zeros((3, 1, 8, 8), np.uint8), np.arange(3), (r"$\foo$", "$$", "a\x1bb"), list("xyz"))
    figure = show_batch(DataLoaders.from_dataset(Dataset("names", images, images), 3))
    figure.savefig(io.BytesIO(), format="svg")
    assert {ax.get_title() for ax in figure.axes[:3]} == {r"\$\foo\$", r"\$\$", r"a\x1bb"}


@given(rows=st.lists(st.lists(st.text(st.characters(codec="utf-8")), min_size=2, max_size=2), max_size=5))
def test_csv_reads_back_every_text_and_holds_no_formula(
    rows: list[list[str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    text = csv_text(["path", "label"], rows)
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert [list(row.values()) for row in read_csv(path, ["path", "label"])] == rows
    for row in csv.reader(io.StringIO(text, newline="")):
        for cell in row:
            if FORMULA.match(cell) and cell[0] != "'":
                float(cell)


def test_ordinary_names_and_numbers_are_written_as_before() -> None:
    rows = [["a/1.png", "it's", "'tis", "-0.500000"], [-1, 2.5, "-", "+1e-05"], ["", "=", "-1", "ü"]]
    plain = io.StringIO(newline="")
    csv.writer(plain, lineterminator="\n").writerows([["a", "b", "c", "d"], *rows])
    assert csv_text(["a", "b", "c", "d"], rows) == plain.getvalue()
    assert csv_text(["a"], [["=1+1"], ["'=1"], ["-a.png"]]) == "a\n'=1+1\n''=1\n'-a.png\n"


@given(st.text())
def test_a_printable_text_is_one_line_and_moves_no_cursor(text: str) -> None:
    assert not set(printable(text)) & set(ESCAPES + "\n\t\x00\x7f")
    assert len(printable(text).splitlines()) <= 1
    assert printable("Ünï, 数字 👩‍👧 [red]") == "Ünï, 数字 👩‍👧 [red]"


def test_a_finished_run_of_the_first_edition_passes_all_checks(tmp_path: Path) -> None:
    run = Path(shutil.copytree(FIRST_EDITION / "finished", tmp_path / "run"))
    assert export(run)["agreement"] == 1
    assert predict(run / "model.onnx", fill(tmp_path, {"a.png": 1}) / "a.png")["predictions"]
    assert resume(run) is not None


def test_arrays_larger_than_size_allows_need_a_size(tmp_path: Path, underhood: Command) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 1100, 900), dtype=np.uint8)
    labels = np.arange(6, dtype=np.uint8) % 2
    (tmp_path / "idx").mkdir()
    for name, array in (("train-images-idx3-ubyte", pixels), ("train-labels-idx1-ubyte", labels)):
        header = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
        (tmp_path / "idx" / name).write_bytes(header + array.tobytes())
    failed = underhood("train", tmp_path / "idx", "--out", "run")
    assert failed.code == 1
    assert "has images of 900 × 1100 pixels: choose --size, at most 1024" in one_line(failed.err.strip())
    done = underhood("train", tmp_path / "idx", "--size", 8, "--model", "linear", "--epochs", 1, "--out", "run")
    assert done.code == 0, done.err


@pytest.mark.parametrize(
    "changes",
    [
        {"taken": -5}, {"taken": 10**18}, {"taken": 2.5}, {"taken": True}, {"taken": 10**400},
        {"seconds": float("nan")}, {"seconds": float("inf")}, {"seconds": "x"},
    ],
)  # fmt: skip
def test_a_state_that_lies_about_its_steps_is_not_resumed(changes: dict[str, Any], tmp_path: Path) -> None:
    from safetensors import safe_open

    run = Path(shutil.copytree(FIRST_EDITION / "interrupted", tmp_path / "run"))
    path = run / "state.safetensors"
    with safe_open(path, "pt") as file:
        header = json.loads(file.metadata()["underhood"])
    save_file(load_file(path), path, {"underhood": json.dumps(header | changes)})
    with pytest.raises(RunError, match=r"state\.safetensors") as error:
        resume(run)
    one_line(error.value)


@pytest.mark.parametrize("name", ["optimizer.0.exp_avg", "losses", "recorder.lrs", "recorder.values", "other"])
def test_a_state_whose_tensors_have_other_shapes_is_not_resumed(name: str, tmp_path: Path) -> None:
    from safetensors import safe_open

    run = Path(shutil.copytree(FIRST_EDITION / "interrupted", tmp_path / "run"))
    path = run / "state.safetensors"
    with safe_open(path, "pt") as file:
        header = file.metadata()
    save_file(load_file(path) | {name: torch.zeros(77)}, path, header)
    with pytest.raises(RunError, match=r"state\.safetensors") as error:
        resume(run)
    one_line(error.value)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("metrics.csv", "\n0,", "\n0,1e308,"), ("metrics.csv", "\n0,", "\nnan,"), ("steps.csv", "\n1,", "\n1e309,"),
        ("predictions.csv", ",0.", ",7."), ("data.json", '"0",', '"0", "more",'), ("data.json", '"0",', '"0", [],'),
    ],
)  # fmt: skip
def test_a_report_refuses_figures_that_cannot_be_drawn(name: str, old: str, new: str, run: Path) -> None:
    text = (run / name).read_text()
    assert old in text
    (run / name).write_text(text.replace(old, new, 1))
    with pytest.raises(RunError, match=name.replace(".", r"\.")) as error:
        report(run)
    one_line(error.value)


def test_the_tests_that_the_page_on_security_names_exist() -> None:
    import re

    here = Path(__file__).parent
    text = "\n".join(path.read_text() for path in here.rglob("test_*.py"))
    defined = set(re.findall(r"(?:def|class) (\w+)", text)) | {path.stem for path in here.rglob("test_*.py")}
    page = (here.parent / "docs" / "security.md").read_text()
    named = set(re.findall(r"`((?:test_|Test)\w+)`", page))
    assert len(named) > 20
    assert named <= defined
