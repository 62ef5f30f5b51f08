"""``model.onnx``: a run in one file, for other tools and for machines without torch.

The graph takes images as ``pictures``, uint8 [n, c, h, w], and returns ``probabilities``, float32 [n, classes], and for
a calibrated run ``distances`` in feature space, float32 [n]. Normalisation by mean and standard deviation is in the
graph, and so is the temperature. The file's metadata has one key, ``underhood``: format, run, model, classes,
preparation, threshold, metrics, the class means (``ideals``) and the calibration.
"""

import base64
import hashlib
import json
import math
import os
import threading
import zlib
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from underhood.analysis import require_probabilities
from underhood.core.errors import RunError, UnderhoodError
from underhood.data.files import open_regular
from underhood.preparation import Preparation
from underhood.runs import parse_json
from underhood.runs.calibration import Calibration, parse_calibration
from underhood.runs.checkpoint import check_classes, check_threshold
from underhood.serving.graph import DISTANCES, INPUT, Checked, check_graph
from underhood.serving.loaded import LoadedModel

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

    from underhood.runs.checkpoint import Run

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before onnxruntime is imported: it would send data to its maker

METADATA_FORMAT = 2  # raised when an older underhood could not read it; 1 has no calibration
MAX_BYTES = 2**30  # of a file: reading it takes a few times as much memory
MAX_METADATA = 10_000_000  # characters
MAX_CLASS_MEANS = 200_000  # bytes: larger class means are left out of the file
SLOW = 50_000_000  # numbers to compute: about a tenth of a second
STOP_TIMEOUT = 10  # seconds for the operator that is running when a signal arrives


def write_onnx(run: "Run", path: Path) -> None:
    """Write a run's model to a ``.onnx`` file. Raises UnderhoodError where onnx or onnxscript is not installed.

    A run without ``calibration.safetensors`` has no distances and no calibration in the file.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401 (torch needs it; its own message is less clear)
    except ImportError:
        raise UnderhoodError("export needs onnx and onnxscript: pip install 'underhood-vision[onnx]'") from None
    import torch

    from underhood.runs.checkpoint import load_class_means, read_metrics

    size = sum(tensor.nbytes for tensor in run.model.state_dict().values())
    if size > MAX_BYTES - MAX_METADATA:
        raise UnderhoodError(f"{run.path} has {size / 1e9:.1f} GB of weights: a .onnx file may have 1 GB")
    a, calibration = run.architecture, run.calibration
    calibrated = calibration.as_dict() != Calibration().as_dict() or calibration.prototypes is not None
    proto = _graph_of(run)
    header = {
        "format": METADATA_FORMAT if calibrated else 1,
        "run": run.path.name,
        "model": a.model,
        "classes": list(run.classes),
        "preparation": run.preparation.as_dict(),
        "threshold": run.threshold,
        "metrics": read_metrics(run.path),
        "ideals": _packed(load_class_means(run.path, run)),
    } | ({"pretrained": run.pretrained} if run.pretrained else {})
    header |= {"calibration": calibration.as_dict()} if calibrated else {}
    onnx.helper.set_model_props(proto, {"underhood": json.dumps(header, sort_keys=True, allow_nan=False)})
    try:  # without the exporter's notes, which have paths of this machine in them
        path.write_bytes(check_graph(proto.SerializeToString()).content)
    except ValueError as error:
        raise UnderhoodError(
            f"torch {torch.__version__} exports {a.model} in a form that is not known ({error})"
        ) from None


def _graph_of(run: "Run") -> Any:
    """A run's network and calibration as ONNX's ``ModelProto``, without metadata."""
    import logging
    import warnings

    import torch

    from underhood.serving.network import CalibratedNetwork

    a = run.architecture
    names = ["probabilities"] if run.calibration.prototypes is None else ["probabilities", DISTANCES]
    example = torch.zeros(2, a.channels, a.height, a.width, dtype=torch.uint8)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter warns about its own internals
        program = torch.onnx.export(
            CalibratedNetwork(run.model, run.calibration).eval(), (example,), input_names=[INPUT], output_names=names,
            dynamic_shapes=({0: torch.export.Dim("n")},), verbose=False, dynamo=True,
        )  # fmt: skip
    assert program is not None
    return program.model_proto


def load_onnx(path: Path, sha256: str | None = None, threads: int = 0) -> LoadedModel:
    """Load an exported file, without torch. It may come from somebody else: ``check_graph`` checks it before it runs.

    sha256: of the file, in hexadecimal, where it is known; threads: to compute with, by default one per core

    Raises RunError where the file is missing, damaged, from another tool, in a newer format or another than ``sha256``
    says; UnderhoodError where onnxruntime is not installed.
    """
    try:
        import onnxruntime  # noqa: F401 (before the file is read)
    except ImportError:
        raise UnderhoodError("a .onnx file needs onnxruntime: pip install 'underhood-vision[onnx]'") from None
    content = _read(path)
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise RunError(
            f"{path} is not the file that parity.json certifies: underhood export {path.parent}, or remove it"
        )
    try:
        checked = check_graph(content)
        fields = _description(path, checked)
        session = make_session(checked.content, threads)
    except UnderhoodError:
        raise
    except Exception as error:  # onnxruntime documents no error class of its own
        raise RunError(f"{path} was not written by underhood export, or is damaged ({_first_line(error)})") from None

    def outputs(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        results = np.empty((len(pixels), checked.classes), np.float32)
        distances = np.empty(len(pixels), np.float32) if checked.distances else None
        for start in range(0, len(pixels), checked.batch):
            batch = np.ascontiguousarray(pixels[start : start + checked.batch])
            try:
                results[start : start + len(batch)], *more = _run(session, batch, len(batch) * checked.numbers)
                if distances is not None:
                    distances[start : start + len(batch)] = more[0]
            except Exception as error:
                raise RunError(f"{path} cannot be run ({_first_line(error)}): export it again") from None
        return require_probabilities(results, path), distances

    return LoadedModel(**fields, probabilities=lambda pixels: outputs(pixels)[0], attributions=None, outputs=outputs)


def _description(path: Path, checked: Checked) -> dict[str, Any]:
    """The fields of an ``LoadedModel`` but its functions, from the file's metadata, which must fit the model."""
    if len(checked.metadata["underhood"]) > MAX_METADATA:
        raise ValueError("its metadata is too long")
    header = parse_json(checked.metadata["underhood"])
    if header["format"] > METADATA_FORMAT:
        raise RunError(
            f"{path} has format {header['format']}, this underhood reads up to {METADATA_FORMAT}: "
            "pip install -U underhood-vision"
        )
    preparation, classes = Preparation(**header["preparation"]), check_classes(header["classes"])
    shape = preparation.channels, preparation.height, preparation.width
    if (*shape, len(classes)) != (*checked.shape, checked.classes):
        raise ValueError("its preparation or classes do not fit the model")
    class_means = _unpacked(header.get("ideals"), (len(classes), *shape))
    threshold, metrics = check_threshold(header["threshold"]), _check_metrics(header.get("metrics", {}))
    calibration = Calibration(threshold=threshold)
    if "calibration" in header:
        calibration = parse_calibration(header["calibration"], threshold, len(classes))
    if math.isfinite(calibration.distance_limit) and not checked.distances:
        raise ValueError("it has a limit for distances, which its model does not return")
    return {
        "classes": classes, "preparation": preparation, "threshold": threshold, "name": str(header["run"]),
        "model": str(header["model"]), "metrics": metrics, "class_means": class_means, "calibration": calibration,
    }  # fmt: skip


def make_session(model: "bytes | Path", threads: int = 0) -> "InferenceSession":
    """onnxruntime's session of a model. Its threads sleep while they wait: by default they would keep a core busy."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads  # 0: one per core
    options.log_severity_level = 4  # fatal: errors are raised, and reported in one line
    for pool in ("intra_op", "inter_op"):
        options.add_session_config_entry(f"session.{pool}.allow_spinning", "0")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _run(session: "InferenceSession", batch: np.ndarray, numbers: int) -> list[np.ndarray]:
    """The outputs for a batch. Ctrl-C and SIGTERM end it where it takes long. numbers: how many are computed"""
    if numbers < SLOW or threading.current_thread() is not threading.main_thread():
        return session.run(None, {INPUT: batch})
    import onnxruntime

    options, done = onnxruntime.RunOptions(), Future[list[np.ndarray]]()

    def work() -> None:
        try:
            done.set_result(session.run(None, {INPUT: batch}, options))
        except Exception as error:
            done.set_exception(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        return done.result()  # Python handles signals while it waits here, and not while onnxruntime computes
    finally:
        options.terminate = True  # after a signal: onnxruntime stops before its next operator
        thread.join(STOP_TIMEOUT)


def _read(path: Path) -> bytes:
    """The content of a file of at most ``MAX_BYTES``. Raises RunError."""
    try:
        with open_regular(path) as file:
            if os.fstat(file.fileno()).st_size > MAX_BYTES:
                raise RunError(f"{path} has more than {MAX_BYTES:,} bytes: no model that underhood exports has so many")
            return file.read()
    except FileNotFoundError:
        raise RunError(f"{path}: there is no such file") from None
    except OSError as error:
        raise RunError(f"{path} cannot be read ({error.strerror})") from None


def _check_metrics(metrics: object) -> dict[str, float]:
    """The metrics in a file's metadata. Raises ValueError."""
    if not isinstance(metrics, dict) or not all(type(v) in (int, float) and math.isfinite(v) for v in metrics.values()):
        raise ValueError("its metrics are no numbers")
    return {name: float(value) for name, value in metrics.items()}


def _packed(class_means: np.ndarray | None) -> str | None:
    """The class means, uint8 [classes, c, h, w], as text; None where there are none or they are too large."""
    if class_means is None or class_means.size > MAX_CLASS_MEANS:
        return None
    return base64.b64encode(zlib.compress(class_means.tobytes(), 9)).decode()


def _unpacked(text: str | None, shape: tuple[int, ...]) -> np.ndarray | None:
    if text is None:
        return None
    size = math.prod(shape)
    if size > MAX_CLASS_MEANS:
        raise ValueError("its class means are larger than export writes them")
    content = zlib.decompressobj().decompress(base64.b64decode(text), size)
    return np.frombuffer(content, np.uint8).reshape(shape)


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]
