"""The doctor: why does it not learn? Suspicions about a training, each tested by an experiment.

    trace.py   what was seen of a training: losses, gradients, batches, modes
    watch.py   sees it: hooks on torch that watch any loop, and may change one thing in it
    loops.py   the loops that can be watched: a script's, a model's with its batches, a run's
    case.py    what is examined: a loop that can be run again with one thing changed, and the images
    checks/    one file for each suspicion
    examine.py runs the checks within a budget of time

A check is a module with ``SUSPICION``, ``SECONDS``, ``AFTER`` and ``examine(case) → Finding | None``;
docs/how-to/doctor.md says how to add one.
"""

from dataclasses import dataclass
from typing import Literal, TypedDict

Verdict = Literal["found", "suspicious", "fine"]
VERDICTS: tuple[Verdict, ...] = ("found", "suspicious", "fine")  # the most serious first

# All checks, the most specific cause first: what is found further up may explain what is found further down.
CHECKS = (
    "no-step", "zero-grad", "broadcast", "double-softmax", "wrong-loss", "no-gradient", "frozen-parameters",
    "train-eval", "data-order", "input-scale", "channels", "preparation", "leak", "shortcut", "dead-units",
    "learning-rate", "nan", "labels", "imbalance", "augmentation", "cannot-overfit-a-batch", "overfit", "underfit",
    "noise",
)  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """What an experiment says about a suspicion.

    evidence: what was measured, in a sentence with the number; fix: a command or a line of code, "" where nothing is
    to be fixed
    """

    verdict: Verdict
    evidence: str
    fix: str = ""


class FindingDict(TypedDict):
    """A finding, as JSON."""

    check: str
    verdict: Verdict
    suspicion: str
    evidence: str
    fix: str
    seconds: float


def worse(*findings: Finding | None) -> Finding | None:
    """The most serious of several findings, the first of equal ones; None where there is none."""
    return min((one for one in findings if one), key=lambda one: VERDICTS.index(one.verdict), default=None)


def fine(evidence: str) -> Finding:
    """The experiment speaks against the suspicion."""
    return Finding("fine", evidence)


def found(evidence: str, fix: str) -> Finding:
    """The experiment confirms the suspicion."""
    return Finding("found", evidence, fix)


def suspicious(evidence: str, fix: str) -> Finding:
    """The experiment speaks for the suspicion, and does not prove it."""
    return Finding("suspicious", evidence, fix)
