"""The findings of ``doctor`` as text."""

import textwrap
from collections.abc import Iterator
from typing import Any

WIDTH = 110


def doctor_report(result: dict[str, Any]) -> str:
    """What was found and what is suspicious, each with its evidence and its fix, and the names of what is fine."""
    findings = result["findings"]
    serious = [one for one in findings if one["verdict"] != "fine"]
    lines = [line for one in serious for line in _finding(one)]
    lines += [] if serious else ["nothing found", ""]
    fine = [one["check"] for one in findings if one["verdict"] == "fine"]
    if fine:
        lines += textwrap.wrap(f"fine: {', '.join(fine)}", WIDTH, subsequent_indent="      ", break_on_hyphens=False)
    if result["not_examined"]:
        text = f"no time was left for {', '.join(result['not_examined'])}: give more with --budget"
        lines += textwrap.wrap(text, WIDTH, subsequent_indent="  ", break_on_hyphens=False)
    return "\n".join([*lines, f"{len(findings)} checks in {result['seconds']:.0f} s"])


def _finding(one: dict[str, Any]) -> Iterator[str]:
    yield f"{one['verdict']}: {one['check']} ({one['suspicion']})"
    yield from textwrap.wrap(one["evidence"], WIDTH, initial_indent="  ", subsequent_indent="  ")
    yield from textwrap.wrap(f"fix: {one['fix']}", WIDTH, initial_indent="  ", subsequent_indent="       ")
    yield ""
