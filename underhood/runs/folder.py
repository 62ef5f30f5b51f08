"""A run folder: what a training was asked, saw and reached. Nothing in it is a pickle; loading it runs no code.

    config.json        what was asked for and what was chosen
    environment.json   versions, machine, threads, device
    data.json          counts, classes, a hash of each part, what was left out
    pictures.csv       part, path, label and a hash of each picture's pixels
    augmented.png      the first batch as the model sees it, where pictures are augmented
    tensorboard/       what was written for TensorBoard, with --track tensorboard
    metrics.csv        a row an epoch, no durations: equal runs write equal bytes
    steps.csv          step, train_loss, lr
    layers.csv         what was seen of each layer: step, layer, mean, deviation, zeros, gradient, update
    log.txt            messages and durations
    state.safetensors  what a resume needs (``state.py``)
    weights.safetensors  the model; one metadata key, ``underhood``: architecture, classes, preparation, threshold
    ideals.npy         each class's average training picture
    predictions.csv    what the model says of each validation picture

Each file is written beside its place, synced, and renamed: it is there whole, or not at all.
"""

import csv
import hashlib
import io
import json
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from underhood.core.errors import RunError, UnderhoodError
from underhood.preparation.prepare import Preparation

if TYPE_CHECKING:
    from torch import nn

    from underhood.core.loader import DataLoader
    from underhood.core.models import Architecture

FORMAT = 1  # of the run folder; raised when an older underhood could not read it


@dataclass(frozen=True)
class Run:
    """A trained run, loaded: its model in evaluation mode, on the CPU."""

    path: Path
    model: "nn.Module"
    architecture: "Architecture"
    classes: tuple[str, ...]
    preparation: Preparation
    threshold: float = 0.0  # what is less probable is not sure


def write_whole(path: Path, content: bytes) -> None:
    """Write a file beside its place, sync it, rename it. Raises RunError and leaves what was there before."""
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        with suppress(OSError):  # what cannot be written can perhaps not be removed either: the first error counts
            part.unlink(missing_ok=True)
        raise RunError(
            f"cannot write {path} ({error.strerror}): make room or choose another folder with --out"
        ) from None


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a dictionary as indented, sorted JSON."""
    write_whole(path, (json.dumps(content, indent=2, sort_keys=True) + "\n").encode())


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table as CSV."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_whole(path, text.getvalue().encode("utf-8", "surrogateescape"))


def free_folder(out: Path | None, name: str) -> Path:
    """The folder for a new run: ``out`` if it is free, else the next ``runs/NAME-n``. Creates nothing.

    Raises RunError if ``out`` holds anything.
    """
    if out is None:
        names = [path.name for path in Path("runs").iterdir()] if Path("runs").is_dir() else []
        taken = [other for other in names if other.startswith(f"{name}-")]
        numbers = [int(end) for other in taken if (end := other[len(name) + 1 :]).isdecimal()]
        return Path("runs") / f"{name}-{max(numbers, default=0) + 1}"
    try:
        if out.is_dir() and not all(_is_left_over(path.name) for path in out.iterdir()):
            raise RunError(f"{out} is not empty: choose another folder with --out, or remove it")
    except PermissionError:
        raise RunError(f"{out} may not be read (permission denied): choose another folder with --out") from None
    if out.exists() and not out.is_dir():
        raise RunError(f"{out} is a file: choose a folder with --out")
    return out


def _is_left_over(name: str) -> bool:
    """What a run that was killed before it wrote anything may leave."""
    return name == ".lock" or (name.startswith(".") and name.endswith(".part"))


def require_writable(folder: Path) -> None:
    """Raise RunError unless the folder, which need not exist yet, can be created and written in."""
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not there.is_dir():
        raise RunError(f"{there} is a file: choose another folder with --out")
    if not os.access(there, os.W_OK | os.X_OK):
        raise RunError(f"{there} may not be written in (permission denied): choose another folder with --out")


def create_folder(out: Path | None, name: str) -> Path:
    """Create the folder that ``free_folder`` names; of two runs that start at once, each gets its own.

    Raises RunError.
    """
    try:
        while True:
            folder = free_folder(out, name)
            folder.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):
                folder.mkdir()
                return folder
            if out is not None:
                return folder
    except OSError as error:
        raise RunError(f"cannot create {folder} ({error.strerror}): choose another folder with --out") from None


def save_weights(
    folder: Path, model: "nn.Module", architecture: "Architecture", classes: Sequence[str], preparation: Preparation,
    threshold: float = 0.0,
) -> None:  # fmt: skip
    """Write ``weights.safetensors``: equal weights give equal bytes."""
    from safetensors.torch import save

    header = {
        "format": FORMAT,
        "architecture": architecture.as_dict(),
        "classes": list(classes),
        "preparation": preparation.as_dict(),
        "threshold": threshold,
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    content = save(tensors, metadata={"underhood": json.dumps(header, sort_keys=True)})
    write_whole(folder / "weights.safetensors", content)


def save_contact_sheet(path: Path, loader: "DataLoader", columns: int = 16) -> None:
    """Write the pictures of a loader's first batch as a PNG, as the model sees them, side by side."""
    import numpy as np
    from PIL import Image

    batch = next(loader.batches())[0].cpu().numpy()  # [n, c, h, w], 0 to 255
    pictures = np.clip(batch + 0.5, 0, 255).astype(np.uint8).transpose(0, 2, 3, 1)
    side = max(1, 56 // pictures.shape[1])  # small pictures are shown larger
    pictures = np.pad(pictures.repeat(side, 1).repeat(side, 2), ((0, -len(pictures) % columns), (1, 1), (1, 1), (0, 0)))
    _, height, width, channels = pictures.shape
    sheet = pictures.reshape(-1, columns, height, width, channels).swapaxes(1, 2)
    content = io.BytesIO()
    Image.fromarray(sheet.reshape(-1, columns * width, channels).squeeze()).save(content, "PNG")
    write_whole(path, content.getvalue())


def load_run(folder: Path) -> Run:
    """Load a run's model. Raises RunError where the folder is not a run, is damaged, or is of a newer format."""
    import torch
    from safetensors import SafetensorError, safe_open

    from underhood.core.models import Architecture, build_model

    path = folder / "weights.safetensors"
    if not path.is_file():
        why = "there is no such folder" if not folder.is_dir() else "it has no weights.safetensors"
        raise RunError(f"{folder} is not a finished run: {why}")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dictionary)
    except (SafetensorError, OSError) as error:
        raise RunError(f"{path} is damaged or may not be read ({error})") from None
    try:
        header = json.loads(metadata["underhood"])
        version = int(header["format"])
    except (KeyError, TypeError, ValueError, OverflowError):
        raise RunError(
            f"{path} was not written by underhood: its metadata has no underhood key that can be read"
        ) from None
    if version > FORMAT:
        raise RunError(f"{path} has format {version}, this underhood reads up to {FORMAT}: pip install -U underhood")
    try:
        architecture = Architecture(**header["architecture"])
        preparation = Preparation(**header["preparation"])
        classes = tuple(str(name) for name in header["classes"])
        threshold = float(header.get("threshold", 0.0))
        shapes = [(a.channels, a.height, a.width) for a in (architecture, preparation)]
        if len(set(classes)) != architecture.classes or shapes[0] != shapes[1]:
            raise ValueError("classes or preparation do not fit the architecture")
        with torch.random.fork_rng(devices=[]):  # its first weights are drawn, for nothing
            model = build_model(architecture)
        model.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, UnderhoodError) as error:
        reason = str(error).strip().splitlines()[0]
        raise RunError(f"{path} does not hold what its metadata says ({reason})") from None
    return Run(folder, model.eval(), architecture, classes, preparation, threshold)


def read_metrics(folder: Path) -> dict[str, float]:
    """The last row of ``metrics.csv``, without the epoch; {} where there is none."""
    try:
        with (folder / "metrics.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return {name: float(value) for name, value in rows[-1].items() if name != "epoch"}
    except (OSError, ValueError, TypeError, IndexError, csv.Error):
        return {}


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """One of a run's JSON files. Raises RunError."""
    path = folder / name
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{folder} is not a run folder: cannot read {name} ({error})") from None
    if not isinstance(content, dict):
        raise RunError(f"{path} is damaged: it holds no JSON object")
    return content


def read_config(folder: Path) -> dict[str, Any]:
    """What a run was asked: its ``config.json``. Raises RunError."""
    config = read_json(folder, "config.json")
    if not isinstance(config.get("data"), str):
        raise RunError(f"{folder / 'config.json'} does not say which data the run was trained on")
    seed, valid, limit = config.get("seed", 0), config.get("valid"), config.get("limit")
    whole_numbers = isinstance(seed, int) and seed >= 0 and (limit is None or (isinstance(limit, int) and limit > 0))
    if not whole_numbers or not (valid is None or (isinstance(valid, float) and 0 < valid < 1)):
        raise RunError(f"{folder / 'config.json'} is damaged: seed, valid or limit is not what train writes there")
    return config


def environment(device: str, processes: int = 1) -> dict[str, Any]:
    """Versions, code and machine, as stored in ``environment.json``."""
    import platform

    import numpy
    import PIL
    import torch

    import underhood

    return {
        "underhood": underhood.__version__,
        "code": _code(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "pillow": PIL.__version__,
        "platform": platform.platform(),
        "processor": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "processes": processes,
        "device": device,
    }


def _code() -> str:
    """A hash of this package's own code."""
    import underhood

    whole = hashlib.sha256()
    folder = Path(underhood.__file__).parent
    for path in sorted(folder.rglob("*.py")):
        whole.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return whole.hexdigest()[:16]
