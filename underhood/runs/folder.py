"""A run folder's name, lock and record: what is written before the first step, and what has changed since."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from underhood.core.errors import RunError
from underhood.core.images import Dataset
from underhood.data.files import encode_png
from underhood.data.read import LoadedData
from underhood.data.split import digest, image_hashes
from underhood.runs import atomic_write, read_json, read_rows, write_csv, write_json

if TYPE_CHECKING:
    from underhood.core.loader import DataLoader

IMAGES_FILE = "pictures.csv"
IMAGES_COLUMNS = ["part", "path", "label", "hash"]

TRAINED = ("metrics.csv", "steps.csv", "layers.csv", "weights.safetensors", "ideals.npy", "predictions.csv")

ISSUES_COLUMNS = ["path", "label", "predicted", "probability", "label_probability"]


class LabelIssue(TypedDict):
    """An image whose label is less probable than another class."""

    path: str
    label: str
    predicted: str
    probability: float  # of the predicted class
    label_probability: float


def free_folder(out: Path | None, name: str) -> Path:
    """The folder for a new run: ``out`` if it is free, else the next ``runs/NAME-n``. Creates nothing.

    Raises RunError if ``out`` holds anything.
    """
    if out is None:
        names = [path.name for path in Path("runs").iterdir()] if Path("runs").is_dir() else []
        ends = [other[len(name) + 1 :] for other in names if other.startswith(f"{name}-")]
        return Path("runs") / f"{name}-{max([int(end) for end in ends if end.isdecimal()], default=0) + 1}"
    try:
        if out.is_dir() and not all(_is_left_over(path.name) for path in out.iterdir()):
            raise RunError(f"{out} is not empty: choose another folder with --out, or remove it")
    except PermissionError:
        raise RunError(f"{out} cannot be read (permission denied): choose another folder with --out") from None
    if out.exists() and not out.is_dir():
        raise RunError(f"{out} is a file: choose a folder with --out")
    return out


def _is_left_over(name: str) -> bool:
    """Whether a run that was killed before it wrote anything may have left this file."""
    return name == ".lock" or (name.startswith(".") and name.endswith(".part"))


def require_writable(folder: Path) -> None:
    """Raise RunError unless the folder, which need not exist yet, can be created and written to."""
    existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not existing.is_dir():
        raise RunError(f"{existing} is a file: choose another folder with --out")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise RunError(f"{existing} is not writable (permission denied): choose another folder with --out")


def create_folder(out: Path | None, name: str) -> Path:
    """Create the folder that ``free_folder`` returns. Two runs that start at once get a folder each.

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


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Keep other processes from training in this folder, and remove what one that died was writing there.

    A process that dies releases the lock. Raises RunError.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RunError(f"another process is training in {folder}: wait for it, or choose another folder") from None
    except OSError as error:
        raise RunError(f"cannot lock {folder} ({error.strerror}): it must be a writable folder") from None
    try:
        for part in folder.glob(".*.part"):
            part.unlink()
        yield
    finally:
        with suppress(OSError):
            (folder / ".lock").unlink()
        lock.release()


def read_config(folder: Path) -> dict[str, Any]:
    """A run's ``config.json``. Raises RunError."""
    config = read_json(folder, "config.json")
    if not isinstance(config.get("data"), str):
        raise RunError(f"{folder / 'config.json'} does not say which data the run was trained on")
    seed, valid, limit = config.get("seed", 0), config.get("valid"), config.get("limit")
    whole_numbers = type(seed) is int and 0 <= seed < 2**32 and (limit is None or (type(limit) is int and limit > 0))
    if not whole_numbers or not (valid is None or (isinstance(valid, float) and 0 < valid < 1)):
        raise RunError(f"{folder / 'config.json'} is damaged: seed, valid or limit is not what train writes there")
    return config


def missing_files(folder: Path, report: bool) -> list[str]:
    """Which files a run that ended has and this one has not: [] for a finished run. report: whether it has one."""
    names = (*TRAINED, *(("report.html",) if report else ()))
    return [name for name in names if not (folder / name).is_file()]


def write_record(folder: Path, config: dict[str, Any], environment: dict[str, Any], loaded: LoadedData) -> None:
    """Write config.json, environment.json, data.json and pictures.csv. Raises RunError."""
    write_json(folder / "config.json", config)
    write_json(folder / "environment.json", environment)
    write_json(folder / "data.json", data_record(loaded))
    write_csv(folder / IMAGES_FILE, IMAGES_COLUMNS, ([part, *rest] for part, *rest in _images(loaded.dataset)))


def data_record(loaded: LoadedData) -> dict[str, Any]:
    """The content of ``data.json``."""
    dataset = loaded.dataset
    return {
        "name": dataset.name,
        "classes": list(dataset.classes),
        "counts": {part: images.counts() for part, images in dataset.parts.items()},
        "sha256": {part: digest(images) for part, images in dataset.parts.items()},
        "preparation": loaded.preparation.as_dict(),
        "left_out": loaded.left_out,
        "notes": loaded.notes,
        "warnings": loaded.warnings,
    }


def changes(folder: Path, now: LoadedData | Path) -> list[str]:
    """The differences between a run's images and a data set, or another run's: one line each, by file name.

    [] if there is none. Raises RunError where a record cannot be read.
    """
    before = read_json(folder, "data.json")
    after = read_json(now, "data.json") if isinstance(now, Path) else data_record(now)
    if before.get("sha256") == after["sha256"]:
        return []
    if before.get("preparation") != after["preparation"]:
        return [f"images are prepared as {after['preparation']}, no longer as {before.get('preparation')}"]
    old = _recorded(folder)
    new = _recorded(now) if isinstance(now, Path) else {p: (part, *rest) for part, p, *rest in _images(now.dataset)}
    lines = [f"{path} is gone" for path in old if path not in new]
    lines += [f"{path} is new" for path in new if path not in old]
    moved = []
    for path in old.keys() & new.keys():
        (part, label, pixels), (part_now, label_now, pixels_now) = old[path], new[path]
        if pixels_now != pixels:
            lines.append(f"{path} has other pixels")
        if label_now != label:
            lines.append(f"{path} is {label_now!r}, no longer {label!r}")
        if part_now != part:  # added and removed images change what is held out
            moved.append(f"{path} is in the {part_now} part, no longer in {part}")
    return sorted(lines) or sorted(moved) or ["the images come in another order"]


def _images(dataset: Dataset) -> "list[tuple[str, str, str, str]]":
    """(part, path, label, hash) of each image."""
    return [
        (part, name, images.classes[label], f"{number:016x}")
        for part, images in dataset.parts.items()
        for name, label, number in zip(images.names, images.labels.tolist(), image_hashes(images).tolist(), strict=True)
    ]


def _recorded(folder: Path) -> dict[str, tuple[str, str, str]]:
    """path → (part, label, hash), from the run's record."""
    rows = read_rows(folder / IMAGES_FILE, IMAGES_COLUMNS)
    return {row["path"]: (row["part"], row["label"], row["hash"]) for row in rows}


def write_label_issues(path: Path, issues: Sequence[LabelIssue]) -> None:
    """Write label issues as CSV. Raises RunError."""
    write_csv(path, ISSUES_COLUMNS, ([*issue.values()] for issue in issues))


def read_label_issues(path: Path) -> list[LabelIssue]:
    """The label issues in a CSV file; [] if there is no such file. Raises RunError if it is damaged."""
    if not path.is_file():
        return []
    try:
        return [
            {
                "path": row["path"],
                "label": row["label"],
                "predicted": row["predicted"],
                "probability": float(row["probability"]),
                "label_probability": float(row["label_probability"]),
            }
            for row in read_rows(path, ISSUES_COLUMNS)
        ]
    except ValueError as error:
        raise RunError(f"{path} is damaged ({error}): remove it, and the report leaves this section out") from None


def save_augmented(folder: Path, loader: "DataLoader", columns: int = 16) -> None:
    """Write ``augmented.png``: the images of a loader's first batch, as the model sees them. Raises RunError."""
    batch = next(loader.batches())[0].cpu().numpy()  # [n, c, h, w], 0 to 255
    images = np.clip(batch + 0.5, 0, 255).astype(np.uint8).transpose(0, 2, 3, 1)
    zoom = max(1, 56 // images.shape[1])  # small images are shown larger
    images = np.pad(images.repeat(zoom, 1).repeat(zoom, 2), ((0, -len(images) % columns), (1, 1), (1, 1), (0, 0)))
    _, height, width, channels = images.shape
    sheet = images.reshape(-1, columns, height, width, channels).swapaxes(1, 2)
    sheet = sheet.reshape(-1, columns * width, channels)  # [h, w, c]
    atomic_write(folder / "augmented.png", encode_png(sheet.transpose(2, 0, 1)))


def environment(device: str, world_size: int = 1) -> dict[str, Any]:
    """Versions, code and machine: the content of ``environment.json``."""
    import platform

    import PIL
    import torch

    import underhood

    package = Path(underhood.__file__).parent
    code = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        code.update(str(path.relative_to(package)).encode() + b"\0" + path.read_bytes())
    return {
        "underhood": underhood.__version__,
        "code": code.hexdigest()[:16],
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "pillow": PIL.__version__,
        "platform": platform.platform(),
        "processor": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "processes": world_size,
        "device": device,
    }
