"""What a run saves of a model: its weights, the training state, and the class means.

``weights.safetensors`` holds the model's tensors, and under the metadata key ``underhood`` what is needed to build it.
``state.safetensors`` holds what a resume needs: weights and buffers, optimizer state, the losses of the current epoch,
the recorder and the layer statistics. The names of tensors and keys are those of the first edition.
"""

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from underhood.core.errors import RunError, UnderhoodError
from underhood.data.files import read_csv
from underhood.preparation import Preparation
from underhood.runs import atomic_write

if TYPE_CHECKING:
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


def save_weights(
    folder: Path, model: "nn.Module", architecture: "Architecture", classes: Sequence[str], preparation: Preparation,
    threshold: float = 0.0,
) -> None:  # fmt: skip
    """Write ``weights.safetensors``: equal weights give equal bytes. Raises RunError."""
    from safetensors.torch import save

    header = {
        "format": FORMAT,
        "architecture": asdict(architecture),
        "classes": list(classes),
        "preparation": preparation.as_dict(),
        "threshold": threshold,
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    content = save(tensors, metadata={"underhood": json.dumps(header, sort_keys=True)})
    atomic_write(folder / "weights.safetensors", content)


def load_run(folder: Path) -> Run:
    """Load a run's model. Raises RunError where the folder is not a run, is damaged, or has a newer format."""
    path = folder / "weights.safetensors"
    if not path.is_file():
        why = "there is no such folder" if not folder.is_dir() else "it has no weights.safetensors"
        raise RunError(f"{folder} is not a finished run: {why}")
    tensors, metadata = _read_tensors(path)
    try:
        header = json.loads(metadata["underhood"])
        version = int(header["format"])
    except (KeyError, TypeError, ValueError, OverflowError):
        raise RunError(
            f"{path} was not written by underhood: its metadata has no underhood key that can be read"
        ) from None
    if version > FORMAT:
        raise RunError(f"{path} has format {version}, this underhood reads up to {FORMAT}: {UPDATE}")
    try:
        return _build(folder, tensors, header)
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, UnderhoodError) as error:
        reason = str(error).strip().splitlines()[0]
        raise RunError(f"{path} does not hold what its metadata says ({reason})") from None


def _read_tensors(path: Path) -> "tuple[dict[str, Tensor], dict[str, str]]":
    """(tensors by name, metadata) of a safetensors file. Raises RunError."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118 (no dict)
    except (SafetensorError, OSError) as error:
        raise RunError(f"{path} is damaged or cannot be read ({error})") from None


def _build(folder: Path, tensors: "dict[str, Tensor]", header: dict[str, Any]) -> Run:
    import torch

    from underhood.core.models import Architecture, build_model

    architecture, preparation = Architecture(**header["architecture"]), Preparation(**header["preparation"])
    classes = tuple(str(name) for name in header["classes"])
    shapes = [(a.channels, a.height, a.width) for a in (architecture, preparation)]
    if len(set(classes)) != architecture.classes or shapes[0] != shapes[1]:
        raise ValueError("classes or preparation do not fit the architecture")
    with torch.random.fork_rng(devices=[]):  # building draws random weights, which are replaced at once
        model = build_model(architecture)
    model.load_state_dict(tensors)
    return Run(folder, model.eval(), architecture, classes, preparation, float(header.get("threshold", 0.0)))


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
    tensors, metadata = _read_tensors(path)
    state: dict[str, Any] = {"model": {}, "optimizer": {}, "recorder": {}, "layer_stats": []}
    try:
        header = json.loads(metadata["underhood"])
        if header["format"] > FORMAT:
            raise RunError(f"{path} has format {header['format']}, this underhood reads up to {FORMAT}: {UPDATE}")
        for name, tensor in tensors.items():
            kind, _, rest = name.partition(".")
            if kind == "model":
                state["model"][rest] = tensor
            elif kind == "optimizer":
                number, _, what = rest.partition(".")
                state["optimizer"].setdefault(int(number), {})[what] = tensor
            elif kind == "recorder":
                state["recorder"][rest] = tensor.tolist()
            else:
                state["layer_stats" if kind == "looks" else kind] = tensor
        state["global_step"], seconds = int(header["taken"]), float(header["seconds"])
        state["losses"]
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path} is damaged ({error}): remove it to start the run again") from None
    return state, seconds


def save_class_means(folder: Path, means: np.ndarray) -> None:
    """Write ``ideals.npy``. means: float [classes, c, h, w], 0 to 1. Raises RunError."""
    content = io.BytesIO()
    np.save(content, np.round(255 * means).astype(np.uint8))
    atomic_write(folder / "ideals.npy", content.getvalue())


def load_class_means(folder: Path, run: Run) -> np.ndarray | None:
    """The mean training image of each class, uint8 [classes, c, h, w]; None where the run has none that fit."""
    try:
        means = np.load(folder / "ideals.npy", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    a = run.architecture
    fits = means.dtype == np.uint8 and means.shape == (a.classes, a.channels, a.height, a.width)
    return means if fits else None


def read_metrics(folder: Path) -> dict[str, float]:
    """The last row of ``metrics.csv``, without the epoch; {} where there is none."""
    try:
        return {name: float(value) for name, value in read_csv(folder / "metrics.csv")[-1].items() if name != "epoch"}
    except (OSError, ValueError, TypeError, IndexError):
        return {}
