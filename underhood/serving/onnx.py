"""``model.onnx``: a run in one file for other tools, and for machines without torch.

A picture goes in as uint8 [n, c, h, w], probabilities come out, float32 [n, classes]; the mean and deviation are in the
graph. The file's metadata has one key, ``underhood``: format, run, classes, preparation, threshold.
"""

import base64
import json
import math
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from underhood.core.errors import RunError, UnderhoodError
from underhood.preparation.prepare import Preparation
from underhood.serving.predictor import Predictor

if TYPE_CHECKING:
    from underhood.runs.folder import Run

FORMAT = 1  # of the metadata
AT_A_TIME = 256  # pictures
MOST_IDEALS = 200_000  # bytes


def write_onnx(run: "Run", path: Path) -> None:
    """Write a run's model. Raises UnderhoodError where what this needs is not installed."""
    try:
        import onnx
        import onnxscript  # noqa: F401 (torch needs it, and says so less clearly)
    except ImportError:
        raise UnderhoodError("export needs onnx and onnxscript: pip install 'underhood[onnx]'") from None
    import logging
    import warnings

    import torch
    from torch import nn

    from underhood.runs.class_means import load_ideals
    from underhood.runs.folder import read_metrics

    network = nn.Sequential(*run.model.children(), nn.Softmax(dim=1)).eval()
    a = run.architecture
    example = torch.zeros(2, a.channels, a.height, a.width, dtype=torch.uint8)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what torch's exporter thinks of its own parts
        program = torch.onnx.export(
            network, (example,), input_names=["pictures"], output_names=["probabilities"],
            dynamic_shapes=({0: torch.export.Dim("n")},), verbose=False, dynamo=True,
        )  # fmt: skip
    assert program is not None
    proto = program.model_proto
    header = {
        "format": FORMAT,
        "run": run.path.name,
        "model": a.model,
        "classes": list(run.classes),
        "preparation": run.preparation.as_dict(),
        "threshold": run.threshold,
        "metrics": read_metrics(run.path),
        "ideals": _packed(load_ideals(run.path, run)),
    }
    onnx.helper.set_model_props(proto, {"underhood": json.dumps(header, sort_keys=True)})
    onnx.save(proto, path)


def load_onnx(path: Path) -> Predictor:
    """A predictor from an exported file, without torch. Raises RunError; UnderhoodError without onnxruntime."""
    try:
        import onnxruntime
    except ImportError:
        raise UnderhoodError("a .onnx file needs onnxruntime: pip install 'underhood[onnx]'") from None
    if not path.is_file():
        raise RunError(f"{path}: there is no such file")
    try:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        header = json.loads(session.get_modelmeta().custom_metadata_map["underhood"])
        if header["format"] > FORMAT:
            raise RunError(f"{path} has format {header['format']}, this underhood reads up to {FORMAT}: update it")
        preparation = Preparation(**header["preparation"])
        classes, threshold = tuple(map(str, header["classes"])), float(header["threshold"])
        shape = len(classes), preparation.channels, preparation.height, preparation.width
        ideals = _unpacked(header.get("ideals"), shape)
        name, model, metrics = str(header["run"]), str(header["model"]), dict(header.get("metrics", {}))
    except UnderhoodError:
        raise
    except Exception as error:  # onnxruntime's errors have no class of their own that is documented
        raise RunError(f"{path} was not written by underhood export, or is damaged ({_first_line(error)})") from None

    def probabilities(pixels: np.ndarray) -> np.ndarray:
        blocks = [pixels[at : at + AT_A_TIME] for at in range(0, len(pixels), AT_A_TIME)]
        answers = [session.run(None, {"pictures": np.ascontiguousarray(block)})[0] for block in blocks]
        return np.concatenate(answers) if answers else np.empty((0, len(classes)), np.float32)

    return Predictor(path, classes, preparation, threshold, probabilities, name, model, metrics, ideals)


def _packed(ideals: np.ndarray | None) -> str | None:
    """Each class's average picture, as text; None of many large ones."""
    if ideals is None or ideals.size > MOST_IDEALS:
        return None
    return base64.b64encode(zlib.compress(ideals.tobytes(), 9)).decode()


def _unpacked(text: str | None, shape: tuple[int, ...]) -> np.ndarray | None:
    if text is None:
        return None
    content = zlib.decompressobj().decompress(base64.b64decode(text), math.prod(shape))
    return np.frombuffer(content, np.uint8).reshape(shape)


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]
