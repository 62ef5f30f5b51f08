"""What ``break`` planted, and its answer, as text."""

from typing import Any

FEW = 5  # names of files that are printed


def planted_report(result: dict[str, Any]) -> str:
    """Where the broken data or script is, and what to read first."""
    what = "a broken training script" if result["kind"] == "script" else "broken data"
    fault = f", with the fault {result['fault']}" if "fault" in result else ", with one fault: which one is hidden"
    return (
        f"{result['out']}: {what}{fault}\n"
        f"begin with {result['out']}/README.md; the answer: underhood break --reveal {result['out']}"
    )


def reveal_report(result: dict[str, Any]) -> str:
    """The fault, its fix, and what it changed."""
    lines = [f"{result['fault']}: {result['what']}", f"  fix: {result['fix']}"]
    lines.append(f"  named by the check{'s' * (len(result['checks']) > 1)} {', '.join(result['checks'])}")
    for line in result.get("lines", []):
        lines.append(f"  {line}")
    for part, names in result.get("files", {}).items():
        lines.append(f"  {part}: {len(names):,} of {result['images'][part]:,} images were changed{_some(names)}")
    return "\n".join(lines)


def _some(names: list[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - FEW:,} more" if len(names) > FEW else ""
    return f": {', '.join(names[:FEW])}{more}"
