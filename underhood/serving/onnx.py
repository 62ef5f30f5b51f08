"""``model.onnx``: a run in one file, for other tools and for machines without torch.

The graph takes images as ``pictures``, uint8 [n, c, h, w], and returns ``probabilities``, float32 [n, classes].
Normalisation by mean and standard deviation is in the graph. The file's metadata has one key, ``underhood``: format,
run, model, classes, preparation, threshold, metrics and the class means (``ideals``).
"""

import base64
import json
import math
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from underhood.core.errors import RunError, UnderhoodError
from underhood.preparation import Preparation

if TYPE_CHECKING:
    from underhood.runs.checkpoint import Run

METADATA_FORMAT = 1  # raised when an older underhood could not read it
ONNX_BATCH = 256  # images
MAX_CLASS_MEANS = 200_000  # bytes: larger class means are left out of the file


class OnnxModel(NamedTuple):
    """What a ``.onnx`` file holds, in the order of ``Predictor``'s fields after ``source``."""

    classes: tuple[str, ...]
    preparation: Preparation
    threshold: float
    probabilities: Callable[[np.ndarray], np.ndarray]  # uint8 [n, c, h, w] → float32 [n, classes]
    name: str
    model: str
    metrics: dict[str, float]
    class_means: np.ndarray | None  # uint8 [classes, c, h, w]


def write_onnx(run: "Run", path: Path) -> None:
    """Write a run's model to a ``.onnx`` file. Raises UnderhoodError where onnx or onnxscript is not installed."""
    try:
        import onnx
        import onnxscript  # noqa: F401 (torch needs it; its own message is less clear)
    except ImportError:
        raise UnderhoodError("export needs onnx and onnxscript: pip install 'underhood-vision[onnx]'") from None
    import logging
    import warnings

    import torch
    from torch import nn

    from underhood.runs.checkpoint import load_class_means, read_metrics

    network = nn.Sequential(*run.model.children(), nn.Softmax(dim=1)).eval()
    a = run.architecture
    example = torch.zeros(2, a.channels, a.height, a.width, dtype=torch.uint8)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter warns about its own internals
        program = torch.onnx.export(
            network, (example,), input_names=["pictures"], output_names=["probabilities"],
            dynamic_shapes=({0: torch.export.Dim("n")},), verbose=False, dynamo=True,
        )  # fmt: skip
    assert program is not None
    proto = program.model_proto
    header = {
        "format": METADATA_FORMAT,
        "run": run.path.name,
        "model": a.model,
        "classes": list(run.classes),
        "preparation": run.preparation.as_dict(),
        "threshold": run.threshold,
        "metrics": read_metrics(run.path),
        "ideals": _packed(load_class_means(run.path, run)),
    }
    onnx.helper.set_model_props(proto, {"underhood": json.dumps(header, sort_keys=True)})
    onnx.save(proto, path)


def load_onnx(path: Path) -> OnnxModel:
    """Load an exported file, without torch.

    Raises RunError where the file is missing, damaged, from another tool or in a newer format; UnderhoodError where
    onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ImportError:
        raise UnderhoodError("a .onnx file needs onnxruntime: pip install 'underhood-vision[onnx]'") from None
    if not path.is_file():
        raise RunError(f"{path}: there is no such file")
    try:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        header = json.loads(session.get_modelmeta().custom_metadata_map["underhood"])
        if header["format"] > METADATA_FORMAT:
            raise RunError(
                f"{path} has format {header['format']}, this underhood reads up to {METADATA_FORMAT}: "
                "pip install -U underhood-vision"
            )
        preparation = Preparation(**header["preparation"])
        classes, threshold = tuple(map(str, header["classes"])), float(header["threshold"])
        shape = len(classes), preparation.channels, preparation.height, preparation.width
        class_means = _unpacked(header.get("ideals"), shape)
        name, model, metrics = str(header["run"]), str(header["model"]), dict(header.get("metrics", {}))
    except UnderhoodError:
        raise
    except Exception as error:  # onnxruntime documents no error class of its own
        raise RunError(f"{path} was not written by underhood export, or is damaged ({_first_line(error)})") from None

    def probabilities(pixels: np.ndarray) -> np.ndarray:
        batches = [pixels[start : start + ONNX_BATCH] for start in range(0, len(pixels), ONNX_BATCH)]
        results = [session.run(None, {"pictures": np.ascontiguousarray(batch)})[0] for batch in batches]
        return np.concatenate(results) if results else np.empty((0, len(classes)), np.float32)

    return OnnxModel(classes, preparation, threshold, probabilities, name, model, metrics, class_means)


def _packed(class_means: np.ndarray | None) -> str | None:
    """The class means, uint8 [classes, c, h, w], as text; None where there are none or they are too large."""
    if class_means is None or class_means.size > MAX_CLASS_MEANS:
        return None
    return base64.b64encode(zlib.compress(class_means.tobytes(), 9)).decode()


def _unpacked(text: str | None, shape: tuple[int, ...]) -> np.ndarray | None:
    if text is None:
        return None
    content = zlib.decompressobj().decompress(base64.b64decode(text), math.prod(shape))
    return np.frombuffer(content, np.uint8).reshape(shape)


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]
