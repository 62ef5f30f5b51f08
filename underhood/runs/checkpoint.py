"""What a run saves of a model: its weights, the training state, and the class means.

``weights.safetensors`` holds the model's tensors, and under the metadata key ``underhood`` what is needed to build it.
``state.safetensors`` holds what a resume needs: weights and buffers, optimizer state, the losses of the current epoch,
the recorder and the layer statistics. The names of tensors and keys are those of the first edition.
"""

import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from underhood.core.errors import RunError, UnderhoodError
from underhood.data.files import read_csv
from underhood.preparation import Preparation
from underhood.runs import atomic_write, open_tensors, parse_json
from underhood.runs.calibration import Calibration, load_calibration

if TYPE_CHECKING:
    from safetensors import safe_open
    from torch import Tensor, nn

    from underhood.core.models import Architecture

FORMAT = 1  # of the run folder; raised when an older underhood could not read it
UPDATE = "pip install -U underhood-vision"


@dataclass(frozen=True)
class Run:
    """A trained run. Its model is in evaluation mode, on the CPU."""

    path: Path
    model: "nn.Module"
    architecture: "Architecture"
    classes: tuple[str, ...]
    preparation: Preparation
    threshold: float = 0.0  # predictions with a lower probability are rejected
    pretrained: dict[str, str | None] | None = None  # where published weights come from; None: it started from none
    calibration: Calibration = field(default_factory=Calibration)  # how its outputs are read


def save_weights(
    folder: Path, model: "nn.Module", architecture: "Architecture", classes: Sequence[str], preparation: Preparation,
    threshold: float = 0.0, pretrained: dict[str, str | None] | None = None,
) -> None:  # fmt: skip
    """Write ``weights.safetensors``: equal weights give equal bytes. Raises RunError."""
    from safetensors.torch import save

    header = {
        "format": FORMAT,
        "architecture": asdict(architecture),
        "classes": list(classes),
        "preparation": preparation.as_dict(),
        "threshold": threshold,
    } | ({"pretrained": pretrained} if pretrained else {})
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    content = save(tensors, metadata={"underhood": json.dumps(header, sort_keys=True, allow_nan=False)})
    atomic_write(folder / "weights.safetensors", content)


def load_run(folder: Path) -> Run:
    """Load a run's model. Raises RunError where the folder is not a run, is damaged, or has a newer format."""
    path = folder / "weights.safetensors"
    if not path.is_file():
        why = "there is no such folder" if not folder.is_dir() else "it has no weights.safetensors"
        why = "its weights.safetensors is no regular file" if path.exists() else why
        raise RunError(f"{folder} is not a finished run: {why}")
    with open_tensors(path) as file:
        try:
            header = parse_json((file.metadata() or {})["underhood"])
            version = int(header["format"])
        except (KeyError, TypeError, ValueError, OverflowError):
            raise RunError(
                f"{path} was not written by underhood: its metadata has no underhood key that can be read"
            ) from None
        if version > FORMAT:
            raise RunError(f"{path} has format {version}, this underhood reads up to {FORMAT}: {UPDATE}")
        try:
            run = _build(folder, file, header)
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, OverflowError, UnderhoodError) as error:
            reason = str(error).strip().splitlines()[0]
            raise RunError(f"{path} does not hold what its metadata says ({reason})") from None
    calibration = load_calibration(folder, run.threshold, len(run.classes), last_inputs(run.model))
    return replace(run, calibration=calibration)


def _build(folder: Path, file: "safe_open", header: dict[str, Any]) -> Run:
    """The model that a header describes. It takes memory once the file is known to hold all of its weights."""
    import torch

    from underhood.core.models import Architecture
    from underhood.pretrained import create_model

    architecture, preparation = Architecture(**header["architecture"]), Preparation(**header["preparation"])
    classes = check_classes(header["classes"])
    shapes = [(a.channels, a.height, a.width) for a in (architecture, preparation)]
    if (architecture.classes, *shapes[0]) != (len(classes), *shapes[1]) or type(architecture.classes) is not int:
        raise ValueError("classes or preparation do not fit the architecture")
    with torch.device("meta"):
        model = create_model(architecture)
    tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no dict)
    found, wanted = ({n: (t.shape, t.dtype) for n, t in each.items()} for each in (tensors, model.state_dict()))
    if found != wanted:
        raise ValueError(f"the tensors are not those of {architecture.model}")
    damaged = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if damaged:
        raise ValueError(f"{damaged[0]} holds NaN or infinity: train again")
    # in the layout that create_model gives them: to_empty would import sympy, 20 MB, to find it out
    in_layout = {n: t.to(memory_format=torch.channels_last) if t.ndim == 4 else t for n, t in tensors.items()}
    model.load_state_dict(in_layout, assign=True)
    threshold = check_threshold(header.get("threshold", 0.0))
    record = check_record(header.get("pretrained"))
    return Run(folder, model.eval(), architecture, classes, preparation, threshold, record)


def last_inputs(model: "nn.Module") -> int:
    """How many features the last layer of a model takes."""
    last: Any = list(model.children())[-1]
    return int(last.in_features)


def check_classes(names: Any) -> tuple[str, ...]:
    """The class names in a file's metadata. Raises ValueError unless they are different texts."""
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or len({*names}) != len(names):
        raise ValueError("classes is not a list of different names")
    return tuple(names)


def check_record(value: Any) -> dict[str, str | None] | None:
    """Where published weights come from, in a file's metadata. Raises ValueError unless it is texts by name."""
    if value is None:
        return None
    if not isinstance(value, dict) or not all(isinstance(text, (str, type(None))) for text in value.values()):
        raise ValueError("pretrained is not a record of texts")
    return value


def check_threshold(value: Any) -> float:
    """The threshold in a file's metadata. Raises ValueError unless it is a number from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise ValueError(f"threshold is {value!r}, not a number from 0 to 1")
    return float(value)


def save_state(folder: Path, state: dict[str, Any], seconds: float) -> None:
    """Write ``state.safetensors``. Raises RunError.

    state: a learner's ``state_dict`` and ``layer_stats``, a tensor; seconds: of training so far
    """
    import torch
    from safetensors.torch import save

    tensors = {f"model.{name}": tensor for name, tensor in state["model"].items()}
    for number, kept in state["optimizer"].items():
        tensors |= {f"optimizer.{number}.{name}": value for name, value in kept.items() if value is not None}
    tensors |= {"losses": state["losses"], "looks": state["layer_stats"]}
    recorded = state["recorder"].items()
    tensors |= {f"recorder.{name}": torch.tensor(values, dtype=torch.float64) for name, values in recorded}
    header = {"format": FORMAT, "taken": state["global_step"], "seconds": seconds}
    content = save(
        {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
        metadata={"underhood": json.dumps(header, sort_keys=True)},
    )
    atomic_write(folder / "state.safetensors", content)


def load_state(folder: Path) -> tuple[dict[str, Any], float] | None:
    """(what ``save_state`` was given, seconds of training), or None where there is no state. Raises RunError."""
    path = folder / "state.safetensors"
    if not path.is_file():
        return None
    with open_tensors(path) as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no dict)
        metadata = file.metadata() or {}
    try:
        header = parse_json(metadata["underhood"])
        if header["format"] > FORMAT:
            raise RunError(f"{path} has format {header['format']}, this underhood reads up to {FORMAT}: {UPDATE}")
        state = _state(tensors)
        state["global_step"], seconds = header["taken"], float(header["seconds"])
        if type(state["global_step"]) is not int or not 0 <= seconds < math.inf or "losses" not in state:
            raise ValueError("it has no number of steps, seconds or losses")
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise RunError(f"{path} is damaged ({error}): remove it to start the run again") from None
    return state, seconds


def _state(tensors: "dict[str, Tensor]") -> dict[str, Any]:
    """The tensors of a state by what they belong to. Raises ValueError for others."""
    state: dict[str, Any] = {"model": {}, "optimizer": {}, "recorder": {}, "layer_stats": []}
    for name, tensor in tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "model":
            state["model"][rest] = tensor
        elif kind == "optimizer":
            number, _, what = rest.partition(".")
            state["optimizer"].setdefault(int(number), {})[what] = tensor
        elif kind == "recorder":
            state["recorder"][rest] = tensor.tolist()
        elif name in ("looks", "losses"):
            state["layer_stats" if name == "looks" else name] = tensor
        else:
            raise ValueError(f"it has a tensor {name!r}")
    return state


def check_state(state: dict[str, Any], model: "nn.Module", steps: int) -> None:
    """Raise ValueError or KeyError unless a state fits a model that trains this many steps in an epoch."""
    taken, recorded = state["global_step"], state["recorder"]
    counts = len(recorded["losses"]), state["losses"].numel(), len(recorded["lrs"]), len(recorded["values"])
    if len(recorded) != 3 or counts != (taken - taken % steps, taken % steps, taken, taken // steps):
        raise ValueError("it does not have the losses of as many steps")
    shapes = [tuple(parameter.shape) for parameter in model.parameters()]
    for number, kept in state["optimizer"].items():
        if not all(tuple(tensor.shape) in ((), shapes[number]) for tensor in kept.values()):
            raise ValueError(f"its optimizer state {number} has another shape")


def save_class_means(folder: Path, means: np.ndarray) -> None:
    """Write ``ideals.npy``. means: float [classes, c, h, w], 0 to 1. Raises RunError."""
    content = io.BytesIO()
    np.save(content, np.round(255 * means).astype(np.uint8))
    atomic_write(folder / "ideals.npy", content.getvalue())


def load_class_means(folder: Path, run: Run) -> np.ndarray | None:
    """The mean training image of each class, uint8 [classes, c, h, w]; None where the run has none that fit."""
    path, a = folder / "ideals.npy", run.architecture
    if not path.is_file():
        return None
    try:
        means = np.lib.format.open_memmap(path, mode="r")  # takes no memory, whatever shape the file declares
    except (OSError, ValueError, EOFError):
        return None
    fits = means.dtype == np.uint8 and means.shape == (a.classes, a.channels, a.height, a.width)
    return np.array(means) if fits else None


def read_metrics(folder: Path) -> dict[str, float]:
    """The last row of ``metrics.csv``, without the epoch; {} where there is none."""
    try:
        last = read_csv(folder / "metrics.csv")[-1].items()
        metrics = {name: float(value) for name, value in last if name != "epoch"}
    except (OSError, ValueError, TypeError, IndexError):
        return {}
    return metrics if all(map(math.isfinite, metrics.values())) else {}
