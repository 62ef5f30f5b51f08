"""``calibration.safetensors``: how a network's outputs are read. ``analysis/calibration.py`` says what it means."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from underhood.core.errors import RunError
from underhood.runs import atomic_write, open_tensors, parse_json, sha256

CALIBRATION_FILE = "calibration.safetensors"
FORMAT = 2  # written as 1 where the nearest prototype alone counts, which is all that format 1 knows


@dataclass(frozen=True, eq=False)
class Calibration:
    """How a network's outputs are read. The defaults change nothing, and say nothing of sets and distances.

    temperature: of the softmax; threshold: predictions with a lower probability are rejected
    coverage: the fraction of images whose prediction set is to hold their class; None without sets
    limits: the probability from which on each class belongs to a set, one for each class; () without sets
    distance_limit: images that are further from all prototypes are rejected; infinite without
    projection, prototypes, neighbours: float32 [features, rank] and [prototypes, rank], and how many of them count: see
        ``feature_distances``
    """

    temperature: float = 1.0
    threshold: float = 0.0
    coverage: float | None = None
    limits: tuple[float, ...] = ()
    distance_limit: float = math.inf
    projection: np.ndarray | None = None
    prototypes: np.ndarray | None = None
    neighbours: int = 1

    def as_dict(self) -> dict[str, Any]:
        """The numbers for JSON, without the threshold, which stands with the model, and without the arrays."""
        limit = self.distance_limit if math.isfinite(self.distance_limit) else None
        return {
            "temperature": self.temperature,
            "coverage": self.coverage,
            "limits": list(self.limits),
            "distance_limit": limit,
        } | ({} if self.neighbours == 1 else {"neighbours": self.neighbours})


def parse_calibration(
    record: Mapping[str, Any], threshold: float, classes: int,
    projection: np.ndarray | None = None, prototypes: np.ndarray | None = None,
) -> Calibration:  # fmt: skip
    """The calibration that ``as_dict`` described. Raises ValueError or KeyError where a file says something else.

    classes: how many; projection: float32 [features, rank], prototypes: float32 [prototypes, rank], or neither
    """
    limits, coverage, distance = record["limits"], record["coverage"], record["distance_limit"]
    temperature = _number(record["temperature"], 1e-3, 1e3, "temperature")
    if not isinstance(limits, list) or len(limits) not in (0, classes):
        raise ValueError("limits is not a list with a number for each class")
    return Calibration(
        temperature,
        threshold,
        None if coverage is None else _number(coverage, 0, 1, "coverage"),
        tuple(_number(limit, 0, 1, "a limit") for limit in limits),
        math.inf if distance is None else _number(distance, -1, 4, "distance_limit"),
        projection,
        prototypes,
        1 if prototypes is None else _neighbours(record.get("neighbours", 1), len(prototypes)),
    )


def _neighbours(value: Any, most: int) -> int:
    if type(value) is not int or not 1 <= value <= most:
        raise ValueError(f"neighbours is {value!r}, not a whole number from 1 to {most}")
    return value


def _number(value: Any, least: float, most: float, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        raise ValueError(f"{name} is {value!r}, not a number from {least:g} to {most:g}")
    return float(value)


def save_calibration(folder: Path, calibration: Calibration) -> None:
    """Write a run's ``calibration.safetensors``: equal calibrations give equal bytes. Raises RunError."""
    from safetensors.numpy import save

    header = {"format": 1 if calibration.neighbours == 1 else FORMAT} | calibration.as_dict()
    arrays = {"projection": calibration.projection, "prototypes": calibration.prototypes}
    tensors = {name: np.ascontiguousarray(array) for name, array in arrays.items() if array is not None}
    content = save(tensors, metadata={"underhood": json.dumps(header, sort_keys=True, allow_nan=False)})
    atomic_write(folder / CALIBRATION_FILE, content)


def load_calibration(folder: Path, threshold: float, classes: int, features: int) -> Calibration:
    """A run's calibration; one that changes nothing where the run has none, as older runs.

    threshold: of the model; classes, features: how many the network has. Raises RunError where the file is damaged or
    no regular file.
    """
    path = folder / CALIBRATION_FILE
    if not path.is_file():
        if path.exists() or path.is_symlink():
            raise RunError(f"{path} is no regular file: restore it, or train again")
        return Calibration(threshold=threshold)
    with open_tensors(path, "numpy") as file:
        metadata = file.metadata() or {}
        try:
            header = parse_json(metadata["underhood"])
            if int(header["format"]) > FORMAT:
                raise RunError(f"{path} has format {header['format']}, this underhood reads up to {FORMAT}: update it")
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 (no dict)
            _check_shapes(shapes, features)
            arrays = {name: file.get_tensor(name) for name in shapes}
            if any(one.dtype != np.float32 or not np.isfinite(one).all() for one in arrays.values()):
                raise ValueError("its arrays are not finite float32 numbers")
            return parse_calibration(header, threshold, classes, arrays.get("projection"), arrays.get("prototypes"))
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
            reason = str(error).strip().splitlines()[0] if str(error) else type(error).__name__
            raise RunError(f"{path} is damaged ({reason}): train again") from None


def calibration_sha256(folder: Path) -> str | None:
    """The SHA-256 of a run's ``calibration.safetensors``; None where it has none. Raises OSError."""
    path = folder / CALIBRATION_FILE
    return sha256(path) if path.is_file() else None


def _check_shapes(shapes: dict[str, tuple[int, ...]], features: int) -> None:
    if not shapes:
        return
    (inputs, rank), (count, again) = shapes["projection"], shapes["prototypes"]
    if len(shapes) != 2 or inputs != features or rank != again or min(rank, count) < 1:
        raise ValueError(f"projection and prototypes do not fit a network of {features} features")
