"""The findings of ``check`` as text: unreadable files, copies, near-duplicates, what a leak is worth, label issues."""

from collections.abc import Iterator, Sequence
from typing import Any

from underhood.data.files import short_list
from underhood.display.tables import percent

MOST_PATHS = 4  # of one finding


def check_report(result: dict[str, Any], most: int = 20) -> str:
    """The findings of ``check``, with the first ``most`` near-duplicates and label issues."""
    parts = ", ".join(f"{count:,} {part}" for part, count in result["parts"].items())
    sizes = [f"{size} ({count:,})" for size, count in result["sizes"].items()]
    lines = [
        f"{result['data']}: {result['images']:,} images ({parts})",
        f"sizes: {short_list(sizes, 5, ', ')}; become {result['prepared']}",
        "classes: " + ", ".join(f"{name} ({count:,})" for name, count in result["classes"].items()),
        *result["notes"],
        *(f"unreadable: {path} {reason}" for path, reason in result["reasons"].items()),
        *_copies(result),
        *_near_duplicates(result["near_duplicates"], most),
        *(f"shortcut: {one['sentence']}" for one in result["shortcuts"]),
        *_label_issues(result.get("suspects", ()), most),
        *leak_lines(result.get("leak")),
    ]
    found = sum(len(result[kind]) for kind in ("unreadable", "conflicts", "leaks", "duplicates"))
    found += sum(len(entry["splits"]) == 1 for entry in result["near_duplicates"])  # the others are among the leaks
    found += len(result["shortcuts"])
    issues = f", {len(result['suspects']):,} label issues" if "suspects" in result else ""
    return "\n".join([*lines, (f"{found:,} finding{'s' * (found > 1)}" if found else "no problems found") + issues])


def leak_lines(leak: dict[str, Any] | None) -> Iterator[str]:
    """Both accuracies, as split and leak-free, one below the other, and how they were measured."""
    if leak is None:
        return
    for key, name in (("as_split", "as split"), ("leak_free", "leak-free")):
        if leak[key]:
            figures = leak[key]
            yield f"{name:<12}{percent(figures['accuracy'], figures['interval'])} on {figures['images']:,} images"
    yield leak["how"]


def _copies(result: dict[str, Any]) -> Iterator[str]:
    near = {tuple(entry["paths"]) for entry in result["near_duplicates"]}
    for kind in ("conflicts", "leaks", "duplicates"):
        for entry in result[kind]:
            if tuple(entry["paths"]) in near:
                continue
            where = entry.get("classes") or entry.get("parts")
            yield f"{kind[:-1]}: {' = '.join(entry['paths'])}" + (f" (in {', '.join(where)})" if where else "")


def _near_duplicates(entries: Sequence[dict[str, Any]], most: int) -> Iterator[str]:
    across_first = sorted(entries, key=lambda entry: -len(entry["splits"]))
    for entry in across_first[:most]:
        where = f", in {' and '.join(entry['splits'])}" if len(entry["splits"]) > 1 else ""
        what = f"{entry['kind']}, {entry['similarity']:.0%} similar{where}"
        yield f"near-duplicate: {short_list(entry['paths'], MOST_PATHS, ' ~ ')} ({what})"
    if len(entries) > most:
        yield f"near-duplicate: {len(entries) - most:,} more: --json lists them"


def _label_issues(issues: Sequence[dict[str, Any]], most: int) -> Iterator[str]:
    for row in issues[:most]:
        looks_like = f"{row['predicted']} ({row['probability']:.0%})"
        yield f"label issue: {row['path']} is {row['label']}, looks like {looks_like}"
    if len(issues) > most:
        yield f"label issue: {len(issues) - most:,} more: --json lists them, the report of a later run shows them"
