"""Runs the checks, cheap ones first, within a budget of time."""

import time
from collections.abc import Iterable
from importlib import import_module
from importlib.metadata import entry_points
from typing import Protocol

from underhood.diagnosis import CHECKS, VERDICTS, Finding, FindingDict
from underhood.diagnosis.case import Case
from underhood.training import Reporter


class Check(Protocol):
    """A module in ``checks/``, or one that an entry point of the group ``underhood.diagnosis.checks`` names."""

    SUSPICION: str  # what may be wrong, in a sentence
    SECONDS: float  # what the experiment takes on a small model, roughly
    AFTER: tuple[str, ...]  # checks whose findings explain this one's

    def examine(self, case: Case) -> Finding | None:
        """The finding; None where the case lacks what the experiment needs."""


def load_checks() -> dict[str, Check]:
    """All checks by name, those of other packages last."""
    own = {name: import_module(f"underhood.diagnosis.checks.{name.replace('-', '_')}") for name in CHECKS}
    others = {entry.name: entry.load() for entry in entry_points(group="underhood.diagnosis.checks")}
    return own | others


def examine(
    case: Case, reporter: Reporter | None = None, names: Iterable[str] | None = None
) -> tuple[list[FindingDict], list[str]]:
    """(findings, checks for which no time was left) about a case, the most serious finding first.

    names: of the checks; all by default. Those for which no time is left are not run. Within one verdict, the more
    specific cause comes first: a cause that is found explains the symptoms that come after it.
    """
    reporter, checks = reporter or Reporter(), load_checks()
    order = {name: number for number, name in enumerate(checks)}
    wanted = sorted(names or checks, key=lambda name: (checks[name].SECONDS, order[name]))
    findings: list[FindingDict] = []
    left_out: list[str] = []
    for number, name in enumerate(wanted):
        reporter.progress("checks", number, len(wanted))
        if checks[name].SECONDS and case.left() < checks[name].SECONDS:
            left_out.append(name)
            continue
        finding = _examine(case, name, checks[name])
        if finding is not None:
            findings.append(finding)
    reporter.progress("checks", len(wanted), len(wanted))
    findings = [_explained(one, checks[one["check"]], findings) for one in findings]
    findings.sort(key=lambda one: (VERDICTS.index(one["verdict"]), order[one["check"]]))
    return findings, left_out


def _examine(case: Case, name: str, check: Check) -> FindingDict | None:
    began = time.perf_counter()
    finding = check.examine(case)
    if finding is None:
        return None
    return {
        "check": name,
        "verdict": finding.verdict,
        "suspicion": check.SUSPICION,
        "evidence": finding.evidence,
        "fix": finding.fix,
        "seconds": round(time.perf_counter() - began, 3),
    }


def _explained(finding: FindingDict, check: Check, findings: list[FindingDict]) -> FindingDict:
    """A finding that another one may explain is suspicious only: the cause is to be fixed first."""
    causes = [one["check"] for one in findings if one["verdict"] == "found" and one["check"] in check.AFTER]
    if finding["verdict"] != "found" or not causes:
        return finding
    why = f"{finding['evidence']} ({causes[0]}, which was found, may be why: fix that first)"
    return {**finding, "verdict": "suspicious", "evidence": why}
