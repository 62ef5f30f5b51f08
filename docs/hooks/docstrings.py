"""Docstrings as Markdown.

Docstrings are prose for readers of the code. Lines such as ``size: in pixels`` stand below one another, and Markdown
would join them. Here they become lists. Indented blocks and trees of files become blocks of code.

mkdocstrings loads this as an extension of griffe. The package is not imported.
"""

import re
from collections.abc import Iterable

import griffe

NAMES = r"\w+(?:, \w+)*"
ITEM = re.compile(rf"({NAMES}): +(.*)")
NEXT = re.compile(rf"(.*?); (({NAMES}): .*)")


class Readable(griffe.Extension):
    def on_package(self, *, pkg: griffe.Module, **_: object) -> None:
        """Rewrite every docstring of a package that griffe has read."""
        _rewrite(pkg)


def _rewrite(thing: griffe.Object) -> None:
    if thing.docstring:
        thing.docstring.value = as_markdown(thing.docstring.value, _names(thing))
    for member in thing.members.values():
        if not member.is_alias:
            _rewrite(member)  # type: ignore[arg-type]


def _names(thing: griffe.Object) -> set[str]:
    """The names that a docstring can explain: parameters and attributes."""
    if isinstance(thing, griffe.Function):
        return {parameter.name for parameter in thing.parameters}
    if isinstance(thing, griffe.Class):
        begins = thing.members.get("__init__")
        return set(thing.members) | (_names(begins) if isinstance(begins, griffe.Function) else set())
    return set()


def as_markdown(text: str, names: Iterable[str] = ()) -> str:
    """A docstring as Markdown. names: those that a line ``name: what it is`` may explain."""
    paragraphs = [_paragraph(block.split("\n"), set(names)) for block in re.split(r"\n(?: *\n)+", text.strip("\n"))]
    return "\n\n".join(paragraphs)


def _paragraph(lines: list[str], names: set[str]) -> str:
    if any(mark in line for line in lines for mark in "├└"):
        return "\n".join(["```text", *lines, "```"])
    if lines[0].startswith(">>>"):
        return "\n".join(["```pycon", *(line.split("# doctest:")[0].rstrip() for line in lines), "```"])
    if lines[0].startswith("    "):
        return "\n".join(["```text", *(line.removeprefix("    ") for line in lines), "```"])
    alike = sum(bool(ITEM.fullmatch(line)) for line in lines) > 1  # each line explains one name
    blocks: list[list[str]] = [[]]  # of prose and of items, in turn
    for line in lines:
        pieces = _entries(line, names, alike)
        if pieces:
            blocks += [[f"- {piece}"] for piece in pieces]
        elif blocks[-1] and blocks[-1][0].startswith("- ") and not line[:1].isupper():
            blocks[-1].append("  " + line.strip())
        elif blocks[-1] and blocks[-1][0].startswith("- "):
            blocks.append([line])
        else:
            blocks[-1].append(line)
    text = ""
    for before, block in zip([[], *blocks], blocks, strict=False):
        of_a_list = all(some and some[0].startswith("- ") for some in (before, block))
        text += ("\n" if of_a_list else "\n\n") + "\n".join(block)
    return text.strip("\n")


def _entries(line: str, names: set[str], alike: bool) -> list[str]:
    """``a, b: one; c: other`` as entries of a list; [] for a line that explains no name."""

    def known(some: str) -> bool:
        return alike or names.issuperset(some.split(", "))

    found = ITEM.fullmatch(line)
    if not found or not known(found[1]):
        return []
    pieces = [line]
    while (more := NEXT.fullmatch(pieces[-1])) and known(more[3]):
        pieces[-1:] = [more[1], more[2]]
    return [_entry(*piece.split(": ", 1)) for piece in pieces]


def _entry(names: str, text: str) -> str:
    return ", ".join(f"`{name}`" for name in names.split(", ")) + ": " + text.strip().rstrip(";")
