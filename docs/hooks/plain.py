"""The output of marimo cells as HTML that needs no script.

marimo shows sliders, tables and coloured boxes with elements of its own, such as ``<marimo-slider …>``, which need its
script. Here each becomes plain HTML: a slider its name and value, a table a table.
"""

import html
import json
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

VOID = ("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr")
WIDE = 600  # pixels: wider figures scroll on a phone instead of shrinking until they cannot be read
OPENED = "<code>underhood lessons</code>"
BEST = ("image/png", "image/svg+xml", "text/html", "text/plain")  # preferred first
TYPED = re.compile(r"text/(plain|html|markdown)(?:\+\w+)?:(.*)$", re.DOTALL)  # a text that JSON has no type for
log = logging.getLogger("mkdocs.plugins.lessons")


def show(mime: str, data: Any, alt: str) -> str:
    """An output of a cell as HTML that needs no script; '' for an empty one."""
    if mime == "application/vnd.marimo+mimebundle":
        bundle = json.loads(data) if isinstance(data, str) else data
        sizes = bundle.get("__metadata__", {})
        best = next((kind for kind in BEST if kind in bundle), None)
        if best and best.startswith("image/"):
            return _picture(bundle[best], alt, sizes.get(best, {}))
        return show(best, bundle[best], alt) if best else ""
    if mime.startswith("image/"):
        return _picture(data, alt, {})
    if mime == "application/json":
        return _preformatted(as_python(json.loads(data) if isinstance(data, str) else data))
    if mime in ("text/html", "text/markdown"):
        return plain(data, alt)
    return _preformatted(data) if str(data).strip() else ""


def _picture(source: str, alt: str, size: dict[str, int]) -> str:
    source = source if source.startswith("data:") else f"data:image/png;base64,{source}"
    numbers = "".join(f' {side}="{size[side]}"' for side in ("width", "height") if side in size)
    wide = ' wide" tabindex="0' if size.get("width", 0) > WIDE else ""  # so that the keyboard can scroll it
    return f'<figure class="drawn{wide}"><img src="{source}" alt="{html.escape(alt)}"{numbers}></figure>'


def _preformatted(text: str) -> str:
    return f'<pre class="printed">{html.escape(text.rstrip())}</pre>'


def as_python(value: Any, width: int = 88) -> str:
    """A value that marimo gives as JSON, nearly as Python would print it."""
    if isinstance(value, dict):
        return "\n".join(f"{key}: {_short(one)}" for key, one in value.items()) or "{}"
    if isinstance(value, list):
        line = _short(value)
        return line if len(line) <= width else "[\n" + "".join(f" {_short(one)},\n" for one in value) + "]"
    return _short(value)


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {_short(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_short, value)) + "]"
    if isinstance(value, str) and (typed := TYPED.match(value)):
        return typed[2] if typed[1] == "plain" else html.unescape(re.sub("<[^>]*>", "", typed[2])).strip()
    return repr(value)


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    children: "list[Element | str]" = field(default_factory=list)

    def given(self, name: str) -> Any:
        """An argument of marimo's script: the attribute ``data-NAME``, as JSON."""
        text = self.attributes.get(f"data-{name}")
        try:
            return None if text is None else json.loads(text)
        except ValueError:
            return text

    def elements(self) -> "list[Element]":
        return [child for child in self.children if isinstance(child, Element)]


class _Tree(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.root = Element("", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].children.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        for place in range(len(self.open) - 1, 0, -1):
            if self.open[place].tag == tag:
                del self.open[place:]
                return

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def parsed(source: str) -> Element:
    tree = _Tree()
    tree.feed(source)
    tree.close()
    return tree.root


def plain(source: str, alt: str = "") -> str:
    """marimo's HTML, without the elements that need its script."""
    return "".join(_plain(child, alt) for child in parsed(source).children)


def _plain(node: "Element | str", alt: str) -> str:
    if isinstance(node, str):
        return html.escape(node, quote=False)
    inside = "".join(_plain(child, alt) for child in node.children)
    if node.tag.startswith("marimo-"):
        return MARIMO.get(node.tag.removeprefix("marimo-"), _unknown)(node, inside, alt)
    if node.tag == "pre":
        return f'<pre class="printed">{inside.rstrip()}</pre>'
    if node.tag == "img" and node.attributes.get("src", "").startswith("data:"):
        width = re.match(r"width: *(\d+)px", node.attributes.get("style", ""))
        size = {"width": int(width[1])} if width else {}
        return _picture(node.attributes["src"], node.attributes.get("alt") or alt, size)
    attributes = {name: value for name, value in node.attributes.items() if name != "style"}
    style = node.attributes.get("style", "").replace(" ", "")
    if "display:flex" in style:
        attributes["class"] = "beside" if "flex-direction:row" in style else "below"
    elif "prose" in attributes.get("class", ""):
        return f"<div>{inside}</div>"
    elif attributes.get("class") == "paragraph":
        tag = "div" if re.search("<(?:p|div|figure|pre|table)[ >]", inside) else "p"
        return f"<{tag}>{inside}</{tag}>"
    text = "".join(f' {name}="{html.escape(value)}"' for name, value in attributes.items())
    return f"<{node.tag}{text}>" + ("" if node.tag in VOID else f"{inside}</{node.tag}>")


def _inline(source: Any) -> str:
    """One of marimo's labels as HTML within a line. Markdown makes a list of ``5. What?``; this undoes it."""
    line = re.sub(r"</?(?:div|p)>", "", plain(str(source or ""))).strip().rstrip(":")
    listed = re.fullmatch(r'<ol(?: start="(\d+)")?>\s*<li>(.*)</li>\s*</ol>', line, re.DOTALL)
    return f"{listed[1] or 1}. {listed[2].strip()}" if listed else line


def _control(node: Element, value: str, remark: str) -> str:
    """A control of the notebook: its name, its value, and where it can be used."""
    label = _inline(node.given("label"))
    named = f'<span class="name">{label}</span> ' if label else ""
    standing = f"<strong>{html.escape(value)}</strong> " if value else ""
    return f'<p class="control">{named}{standing}<small>{remark} under {OPENED}</small></p>'


def _slider(node: Element, _: str, __: str) -> str:
    steps, value = node.given("steps") or [], node.given("initial-value")
    low, high = (steps[0], steps[-1]) if steps else (node.given("start"), node.given("stop"))
    at = [steps[int(one)] if steps else one for one in (value if isinstance(value, list) else [value])]
    return _control(node, " to ".join(map(_number, at)), f"a slider from {_number(low)} to {_number(high)}: it moves")


def _number(value: Any) -> str:
    text = f"{value:g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
    return text.replace("-", "−") if isinstance(value, (int, float)) else text


def _choice(node: Element, _: str, __: str) -> str:
    value, options = node.given("initial-value"), node.given("options") or []
    chosen = [str(one) for one in (value if isinstance(value, list) else [value]) if one is not None]
    names = [str(one) for one in options]
    others = [html.escape(name) for name in names if name not in chosen]
    remark = f"or {', '.join(others)}: choose" if others else "all chosen: change it"
    return _control(node, ", ".join(chosen) or "nothing", remark)


KINDS = {"success": "success", "danger": "failure", "warn": "warning", "info": "info"}


def _callout(node: Element, _: str, alt: str) -> str:
    kind = KINDS.get(str(node.given("kind")), "neutral")
    return f'<div class="callout {kind}">{plain(str(node.given("html") or ""), alt)}</div>'


def _folded(node: Element, _: str, alt: str) -> str:
    """An accordion: each part behind its label."""
    return "".join(f"<details><summary>{name}</summary>{part}</details>" for name, part in _parts(node, alt))


def _parts(node: Element, alt: str) -> list[tuple[str, str]]:
    parts = ["".join(_plain(inner, alt) for inner in part.children) for part in node.elements()]
    return list(zip(map(_inline, node.given("labels") or []), parts, strict=False))


def _mime(node: Element, _: str, alt: str) -> str:
    return show(str(node.given("mime")), node.given("data"), alt)


def _json(node: Element, _: str, __: str) -> str:
    return _preformatted(as_python(node.given("json-data")))


def _unknown(node: Element, inside: str, _: str) -> str:
    """Any other element: a note in its place, and a line in the build's log."""
    log.info(f"<{node.tag}> has no plain form: the page shows a note in its place")
    return _control(node, "", "a part that moves: see it") + inside


def _same(_: Element, inside: str, __: str) -> str:
    return inside


def _waits(_: Element, __: str, ___: str) -> str:
    """In place of a cell that waits for a cell above it."""
    return f'<p class="control"><small>this waits for what is chosen above, under {OPENED}</small></p>'


MARIMO: dict[str, Callable[[Element, str, str], str]] = {
    "ui-element": _same,
    "lazy": _same,
    "slider": _slider,
    "multiselect": _choice,
    "radio": _choice,
    "anywidget": lambda node, _, __: _control(node, "", "a sheet to draw on, or a panel to watch: use it"),
    "text": lambda node, _, __: _control(node, "", "a line to type into: type"),
    "file": lambda node, _, __: _control(node, "", "a file of your own: choose it"),
    "waits": _waits,
    "callout-output": _callout,
    "accordion": _folded,
    "mime-renderer": _mime,
    "json-output": _json,
}
