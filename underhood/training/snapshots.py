"""A run's snapshots while it trains: the weights at some sixty steps, dense at the beginning, where most happens.

They are written with each saved state, in a file for what is new, so that a killed and resumed run has the same ones;
at the end the files become one, ``snapshots.safetensors``.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from underhood.runs.snapshots import SNAPSHOTS_FILE, Snapshots, read_snapshots, write_snapshots

if TYPE_CHECKING:
    from torch import Tensor

    from underhood.core.learner import Learner, Step

SNAPSHOTS = 60
FEWEST = 12  # with fewer there is little to see
MAX_BYTES = 20_000_000  # of all of a run's snapshots


def snapshot_steps(total: int, count: int = SNAPSHOTS) -> list[int]:
    """About ``count`` steps of a training, from 0 to ``total``: each of the first, then ever fewer.

    >>> snapshot_steps(1000, 10)
    [0, 1, 2, 6, 13, 32, 75, 178, 422, 1000]
    """
    if total < count:
        return list(range(total + 1))
    steps: list[int] = []
    for points in range(count - 1, 4 * count):  # rounding makes some of the first equal
        steps = sorted({0, *np.rint(np.geomspace(1, total, points)).astype(int).tolist()})
        if len(steps) >= count:
            break
    return steps


class SnapshotRecorder:
    """Takes a training's snapshots. Without a folder, or where even ``FEWEST`` would be too large, it takes none.

    folder: of the run; total: steps of the training; wanted: False for none
    Raises RunError where earlier files cannot be read.
    """

    def __init__(self, folder: Path | None, learn: "Learner", total: int, wanted: bool = True):
        self._folder, self._learn, self._wanted = folder, learn, wanted and folder is not None
        self._taken: dict[int, dict[str, Tensor]] = {}  # not written yet
        size = sum(tensor.nbytes for tensor in learn.model.state_dict().values())
        self.count = min(SNAPSHOTS, MAX_BYTES // size)  # that there is room for
        self.due = set(snapshot_steps(total, self.count)) if self._wanted and self.count >= FEWEST else set()
        self._first = learn.global_step  # above 0 where the training is resumed
        self._remove_later_files()
        if self.due and learn.global_step == 0:
            self._take(0)

    @property
    def too_large(self) -> str:
        """Why no snapshots are kept, as a line for the log; empty where the weights are small enough."""
        if self.due or not self._wanted:
            return ""
        return f"keeps no snapshots of the weights: {FEWEST} of them would have more than {MAX_BYTES // 10**6} MB"

    def after_step(self, step: "Step") -> None:
        """Keep the weights, if this step is one of those."""
        if step.number in self.due:
            self._take(step.number)

    def save(self) -> None:
        """Write the snapshots that were taken since the last call. Call it before a state is saved. Raises RunError."""
        if self._folder is not None and self._taken:
            write_snapshots(self._folder / f"snapshots-{max(self._taken)}.safetensors", _stacked(self._taken))
            self._taken = {}

    def finish(self) -> None:
        """Write ``snapshots.safetensors``, with the last step's weights, in place of the files. Raises RunError."""
        if not self.due or self._folder is None:
            return
        self._take(self._learn.global_step)
        taken = dict(self._taken)
        whole = self._folder / SNAPSHOTS_FILE  # of a process that was killed after it had trained
        for path in [*self._files(), *([whole] if whole.is_file() and self._first else [])]:
            part = read_snapshots(path)
            known = {step: part.state(i) for i, step in enumerate(part.steps)}
            taken = {step: state for step, state in known.items() if path != whole or step <= self._first} | taken
        write_snapshots(whole, _stacked(taken))
        for path in self._files():
            path.unlink()

    def _remove_later_files(self) -> None:
        """Remove what a process wrote that was killed before it saved the state of these steps."""
        for path in self._files():
            if int(path.stem.partition("-")[2]) > self._learn.global_step or not self._learn.global_step:
                path.unlink()

    def _files(self) -> list[Path]:
        found = [] if self._folder is None else self._folder.glob("snapshots-*.safetensors")
        return [path for path in found if path.stem.partition("-")[2].isdecimal()]

    def _take(self, step: int) -> None:
        self._taken[step] = {
            name: value.detach().to("cpu", copy=True) for name, value in self._learn.model.state_dict().items()
        }


def _stacked(taken: "dict[int, dict[str, Tensor]]") -> Snapshots:
    """Weights by step as one tensor for each name, [snapshots, …]."""
    import torch

    steps = tuple(sorted(taken))
    names = taken[steps[0]]
    return Snapshots(steps, {name: torch.stack([taken[step][name] for step in steps]) for name in names})
