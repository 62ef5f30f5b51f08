"""The run folder. Nothing in it is a pickle: loading a run executes no code.

    config.json          what was asked for and what was chosen
    environment.json     versions, machine, threads, device
    data.json            counts, classes, a hash of each part, what was left out
    pictures.csv         part, path, label and a hash of each image's pixels
    suspects.csv         label issues that ``check --labels`` had found in the data before
    augmented.png        the first batch as the model sees it, with data augmentation
    metrics.csv          one row per epoch, without durations: equal runs write equal bytes
    steps.csv            step, train_loss, lr
    layers.csv           statistics of each layer: step, layer, mean, deviation, zeros, gradient, update
    log.txt              messages and durations
    tensorboard/         event files, with --track tensorboard
    state.safetensors    what a resume needs
    snapshots.safetensors  the weights at some sixty steps, unless --no-snapshots or too large
    interventions.csv    what was changed by hand: step, what, from, to
    weights.safetensors  the model; one metadata key, ``underhood``: architecture, classes, preparation, threshold
    ideals.npy           the class means: the mean training image of each class
    calibration.safetensors  the temperature, the limits of prediction sets, the prototypes for distances
    predictions.csv      label, prediction, probability, loss, set and rejection of each validation image
    ood.csv              how many out-of-distribution images are rejected
    learning_curve.csv   accuracy after training on a quarter, a half and all of the images
    report.html          all of it on one page

Each file is written next to its place, synced and renamed: it is there whole, or not at all.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from underhood.core.errors import RunError
from underhood.data.files import csv_text, open_regular, read_csv

if TYPE_CHECKING:
    from safetensors import safe_open

MAX_JSON = 200_000_000  # bytes: a million paths that were left out have fewer


def atomic_write(path: Path, content: bytes) -> None:
    """Write a file next to its place, sync it, rename it. Raises RunError, and then leaves what was there before.

    No link is followed: in a folder from somebody else it could lead to any of your files.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        part.unlink(missing_ok=True)
        with part.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        with suppress(OSError):  # the first error is the one to report
            part.unlink(missing_ok=True)
        raise RunError(
            f"cannot write {path} ({error.strerror}): free some space or choose another folder with --out"
        ) from None


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a dictionary as indented, sorted JSON. Raises RunError; ValueError where it holds NaN or infinity."""
    atomic_write(path, (json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n").encode())


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table as CSV. Raises RunError."""
    atomic_write(path, csv_text(header, rows).encode("utf-8", "surrogateescape"))


def parse_json(content: str | bytes) -> Any:
    """What a JSON text holds. Raises ValueError, also where it is nested too deeply."""
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """One of a run's JSON files. Raises RunError."""
    path = folder / name
    try:
        with open_regular(path) as file:
            text = file.read(MAX_JSON + 1)
        if len(text) > MAX_JSON:
            raise ValueError(f"it has more than {MAX_JSON:,} bytes")
        content = parse_json(text)
    except (OSError, ValueError) as error:
        raise RunError(f"{folder} is not a run folder: cannot read {name} ({error})") from None
    if not isinstance(content, dict):
        raise RunError(f"{path} is damaged: it holds no JSON object")
    return content


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal. Raises OSError, also where it is no regular file."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_rows(path: Path, columns: Sequence[str] | None = None) -> list[dict[str, str]]:
    """The rows of one of a run's CSV files, which must have these columns. Raises RunError."""
    try:
        return read_csv(path, columns)
    except (OSError, ValueError) as error:
        raise RunError(f"{path} is damaged or cannot be read ({error})") from None


@contextmanager
def open_tensors(path: Path, framework: str = "pt") -> "Iterator[safe_open]":
    """A safetensors file, whose length has been compared with what it declares. Raises RunError.

    framework: what its tensors become, ``pt`` or ``numpy``
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework) as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise RunError(f"{path} is damaged or cannot be read ({error})") from None
