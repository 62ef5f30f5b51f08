"""``snapshots.safetensors``: the weights of a training at some sixty of its steps.

Each tensor of the model, under its own name, has one row for each snapshot: [snapshots, …]. ``steps`` has their steps:
0 is the model before the training, n the one after step n.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from underhood.core.errors import RunError
from underhood.runs import atomic_write, open_tensors, parse_json
from underhood.runs.checkpoint import UPDATE, Run

if TYPE_CHECKING:
    from torch import Tensor

SNAPSHOTS_FILE = "snapshots.safetensors"
SNAPSHOTS_FORMAT = 1


@dataclass(frozen=True)
class Snapshots:
    """The weights of what a training trained, the network or its last layer, at some of its steps.

    steps: rising, 0 for the model before the training; tensors: by name, [snapshots, …], on the CPU
    """

    steps: tuple[int, ...]
    tensors: "dict[str, Tensor]"

    def __len__(self) -> int:
        return len(self.steps)

    def state(self, number: int) -> "dict[str, Tensor]":
        """The tensors of one snapshot, by name."""
        return {name: tensor[number] for name, tensor in self.tensors.items()}

    def restore(self, run: Run, number: int) -> None:
        """Give a run's model the weights of one snapshot: all of them, or those of the layer that was trained."""
        run.model.load_state_dict(self.state(number), strict=False)


def write_snapshots(path: Path, snapshots: Snapshots) -> None:
    """Write snapshots. Equal ones give equal bytes. Raises RunError."""
    import torch
    from safetensors.torch import save

    tensors = {name: tensor.contiguous() for name, tensor in snapshots.tensors.items()}
    tensors["steps"] = torch.tensor(snapshots.steps, dtype=torch.int64)
    atomic_write(path, save(tensors, metadata={"underhood": json.dumps({"format": SNAPSHOTS_FORMAT})}))


def read_snapshots(path: Path) -> Snapshots:
    """The snapshots in a file. Raises RunError where it is damaged, or has a newer format."""
    with open_tensors(path) as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no dict)
        metadata = file.metadata() or {}
    try:
        version = int(parse_json(metadata["underhood"])["format"])
        if version > SNAPSHOTS_FORMAT:
            raise RunError(f"{path} has format {version}, this underhood reads up to {SNAPSHOTS_FORMAT}: {UPDATE}")
        steps: list[int] = tensors.pop("steps").tolist()
        if not steps or steps != sorted({*map(int, steps)}) or steps[0] < 0:
            raise ValueError("its steps do not rise from 0")
        if any(tensor.shape[:1] != (len(steps),) for tensor in tensors.values()):
            raise ValueError("it does not have the weights of as many steps")
        if not all(tensor.isfinite().all() for tensor in tensors.values()):
            raise ValueError("it holds NaN or infinity")
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise RunError(f"{path} is damaged ({error}): remove it, or train again") from None
    return Snapshots(tuple(steps), tensors)


def load_snapshots(run: Run) -> Snapshots | None:
    """A run's snapshots; None where it has none. Raises RunError where they are damaged or not those of its model."""
    path = run.path / SNAPSHOTS_FILE
    if not path.is_file():
        return None
    snapshots, own = read_snapshots(path), run.model.state_dict()
    for name, tensor in snapshots.tensors.items():
        if name not in own or own[name].shape != tensor.shape[1:] or own[name].dtype != tensor.dtype:
            raise RunError(f"{path} does not hold the weights of {run.architecture.model}: remove it, or train again")
    return snapshots


def spread_over_steps(steps: Sequence[int], most: int) -> list[int]:
    """The indices of at most so many of these rising steps: the first, the last, and between them by equal factors.

    >>> steps = [0, 1, 2, 3, 4, 6, 9, 14, 22, 35, 60, 100]
    >>> [steps[i] for i in spread_over_steps(steps, 5)]
    [0, 1, 6, 22, 100]
    """
    if len(steps) <= most:
        return list(range(len(steps)))
    if most <= 1:
        return [len(steps) - 1]
    logs = np.log1p(np.array(steps, float))
    chosen = {0, len(steps) - 1}
    for wanted in np.linspace(logs[1], logs[-1], most - 1)[:-1]:
        free = [number for number in range(len(steps)) if number not in chosen]
        chosen.add(min(free, key=lambda number: abs(logs[number] - wanted)))
    return sorted(chosen)
