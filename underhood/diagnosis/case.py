"""What the doctor examines: a training loop that can be run again with one thing changed, and the images."""

import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from underhood.diagnosis.trace import Change, Trace

if TYPE_CHECKING:
    from underhood.data.parts import Parts
    from underhood.data.read import LoadedData
    from underhood.runs.checkpoint import Run

Loop = Callable[[Change], Trace]  # trains from the start, watched and changed, and gives what was seen


@dataclass
class Case:
    """What is examined. A check that needs what a case does not have returns None.

    loop: trains from the same start each time
    parts: the labelled images as the data has them; loaded: the same, with validation images held out
    run: a trained model; history, options: its record
    subject: what is examined, in the user's words; seconds: for all experiments together
    """

    subject: str
    kind: str  # "run", "data", "model" or "script"
    loop: Loop | None = None
    parts: "Parts | None" = None
    loaded: "LoadedData | None" = None
    run: "Run | None" = None
    history: list[dict[str, float]] = field(default_factory=list)  # of a run: the rows of metrics.csv
    options: dict[str, Any] = field(default_factory=dict)  # of a run: its config.json
    results: dict[str, float] = field(default_factory=dict)  # of a run: accuracies of its validation images
    seconds: float = 60.0
    began: float = field(default_factory=time.perf_counter)
    _traces: dict[Change, Trace] = field(default_factory=dict)

    @cached_property
    def trace(self) -> Trace | None:
        """What was seen of the loop as it is; None without one, and where it never called ``backward``."""
        if self.loop is None:
            return None
        return self.loop(Change(evaluate=True, seconds=self.seconds / 3))

    def again(self, steps: int = 100, **changed: Any) -> Trace:
        """What is seen of the loop with one thing changed: see ``Change``. Each is run once."""
        assert self.loop is not None
        change = Change(steps=steps, seconds=max(2.0, min(self.seconds / 8, self.left())), **changed)
        if change not in self._traces:
            self._traces[change] = self.loop(change)
        return self._traces[change]

    def measured(self, name: str) -> float | None:
        """A figure of a run: valid_accuracy, balanced_accuracy or baseline_accuracy; None of other cases."""
        return self.results.get(name)

    def data(self) -> str:
        """The data, as a shell takes them."""
        return shlex.quote(str(self.options.get("data", self.subject)))

    def left(self) -> float:
        """Seconds that are left of the budget."""
        return self.seconds - (time.perf_counter() - self.began)
