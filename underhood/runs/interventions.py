"""``interventions.csv``: what somebody changed by hand in a training, so that it can be repeated and resumed.

step,what,from,to
120,lr,0.01,0.003        from step 120 on, the highest learning rate is 0.003
300,stop,720,300         the training ended after step 300 of 720
0,without,3/8741.png,    a training image was left out
0,relabel,7/22.png,1     a training image had another class
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from underhood.core.errors import RunError
from underhood.runs import read_rows, write_csv

INTERVENTIONS_FILE = "interventions.csv"
INTERVENTION_COLUMNS = ("step", "what", "from", "to")
KINDS = ("lr", "stop", "without", "relabel")


class Intervention(NamedTuple):
    """One change by hand. what: lr, stop, without or relabel."""

    step: int  # the first one that it changes, counted from 1; of ``stop`` the last one; 0: before the training
    what: str
    before: str  # the value before; of ``without`` and ``relabel`` the image's path
    after: str

    def describe(self) -> str:
        """One line, for the log and the report."""
        if self.what == "lr":
            return f"from step {self.step:,} on, the highest learning rate is {self.after}; it was {self.before}"
        if self.what == "stop":
            return f"stopped by hand after step {self.step:,} of {int(self.before):,}"
        return f"without {self.before}" if self.what == "without" else f"{self.before} as {self.after}"


def write_interventions(folder: Path, interventions: Sequence[Intervention]) -> None:
    """Write ``interventions.csv``. Raises RunError."""
    write_csv(folder / INTERVENTIONS_FILE, INTERVENTION_COLUMNS, interventions)


def read_interventions(folder: Path) -> list[Intervention]:
    """What was changed by hand in a run; [] where nothing was. Raises RunError where the file is damaged."""
    path = folder / INTERVENTIONS_FILE
    if not path.exists():
        return []
    try:
        rows = read_rows(path, INTERVENTION_COLUMNS)
        found = [Intervention(int(row["step"]), row["what"], row["from"], row["to"]) for row in rows]
        for one in found:
            kind = {"lr": float, "stop": int}.get(one.what)
            numbers = [kind(one.before), kind(one.after)] if kind else [1.0]
            if one.what not in KINDS or one.step < 0 or not all(0 < value < math.inf for value in numbers):
                raise ValueError(f"a row cannot be read: {','.join(map(str, one))}")
    except ValueError as error:
        raise RunError(f"{path} is damaged ({error}): restore it, or train a new run") from None
    return found
