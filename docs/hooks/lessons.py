"""The lessons as pages: marimo runs each notebook, and its prose, code, output and figures become Markdown.

``marimo export ipynb`` returns the cells. ``marimo export session`` runs them and returns their output, from which
``plain.py`` makes HTML without scripts. Notebooks are copied first, because marimo writes files beside them.
"""

import ast
import html
import json
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from plain import show

ROOT = Path(__file__).parent.parent.parent
LESSONS = ROOT / "underhood" / "lessons"
CORES = min(4, os.cpu_count() or 1)
CUT = "<hr class='cut'>"  # between two slides


class LessonError(Exception):
    """A lesson does not run, so the site is not built."""


@dataclass
class Cell:
    """A cell of a notebook. outputs: the MIME type and data of each; printed: its output on stdout."""

    source: str
    markdown: bool = False
    hidden: bool = False
    outputs: list[tuple[str, Any]] = field(default_factory=list)
    printed: str = ""


@dataclass
class Lesson:
    """A page. name: of the page and its file; title: the first heading; body: Markdown with a place for each output.

    outputs: HTML; slides: the same page as slides, Markdown
    """

    name: str
    title: str
    body: str
    outputs: list[str]
    slides: str


def files() -> list[Path]:
    return sorted(LESSONS.glob("[0-9]*.py"))


def read_lessons(paths: list[Path]) -> list[Lesson]:
    """Run notebooks, one per core, and make a lesson of each. Raises LessonError if one fails."""
    with ThreadPoolExecutor(CORES) as pool:
        return list(pool.map(lambda path: make_lesson(path.stem, run(path)), paths))


# --- running


def run(path: Path) -> list[Cell]:
    """The cells of a notebook in order, with their output. Raises LessonError if a cell raises."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        copy.write_bytes(path.read_bytes())
        notebook = copy.with_suffix(".ipynb")
        _marimo("export", "ipynb", copy.name, "--sort", "top-down", "-o", notebook.name, folder=folder)
        ended = _marimo("export", "session", "--force-overwrite", copy.name, folder=folder, may_fail=True)
        session = copy.parent / "__marimo__" / "session" / f"{copy.name}.json"
        if not session.exists():
            raise LessonError(f"{path.name} does not run:\n{ended.stdout}{ended.stderr}")
        return read_cells(path.name, json.loads(notebook.read_text("utf-8")), json.loads(session.read_text("utf-8")))


def _marimo(*arguments: str, folder: str, may_fail: bool = False) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"MPLBACKEND": "agg", "PYTHONPATH": os.pathsep.join([str(ROOT), *_python_path()])}
    # as many threads in all as there are cores: two lessons with two threads each on two cores take twice the time
    environment["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // CORES))
    if data := os.environ.get("UNDERHOOD_DATA"):
        environment["UNDERHOOD_DATA"] = str(Path(data).resolve())
    command = [sys.executable, "-m", "marimo", *arguments]
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8")
    if ended.returncode and not may_fail:
        raise LessonError(f"marimo {' '.join(arguments)} failed:\n{ended.stdout}{ended.stderr}")
    return ended


def _python_path() -> list[str]:
    return [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]


def read_cells(name: str, notebook: dict[str, Any], session: dict[str, Any]) -> list[Cell]:
    """Join the results of ``export ipynb`` and ``export session``. Raises LessonError, with the cell, if one raised."""
    ran = {cell["id"]: cell for cell in session["cells"]}
    cells = []
    for given in notebook["cells"]:
        cell = Cell("".join(given["source"]).strip(), given["cell_type"] == "markdown")
        cell.hidden = bool(given["metadata"].get("marimo", {}).get("config", {}).get("hide_code"))
        there = ran.get(given["id"], {"outputs": [], "console": []})
        streams = [(line["name"], line["text"]) for line in there["console"] if line["type"] == "stream"]
        for output in there["outputs"]:
            if output["type"] == "error" and output["ename"] == "ancestor-stopped":
                cell.outputs.append(("text/html", "<marimo-waits></marimo-waits>"))
            elif output["type"] == "error":
                said = html.unescape(re.sub("<[^>]*>", "", "".join(text for _, text in streams)))
                raise LessonError(f"{name}: {output['evalue']}\n\n{cell.source}\n\n{said}".rstrip())
            else:
                cell.outputs += output["data"].items()
        cell.printed = "".join(text for stream, text in streams if stream == "stdout")
        if cell.source:
            cells.append(cell)
    return cells


# --- a page


def make_lesson(name: str, cells: list[Cell]) -> Lesson:
    """The page of a lesson, beginning with its heading. ``put_in`` adds the outputs once Markdown has become HTML."""
    start = next((i for i, cell in enumerate(cells) if cell.markdown and cell.source.startswith("# ")), None)
    if start is None:
        raise LessonError(f"{name}: no cell begins with a heading, `# …`")
    heading, _, rest = cells[start].source.partition("\n")
    blocks, outputs = [heading, _notice(name)], []
    slides = [[heading]]
    for number, cell in enumerate([Cell(rest.strip(), markdown=True), *cells[:start], *cells[start + 1 :]]):
        if cell.markdown:
            made = [to_pages(part.strip()) for part in re.split(r"(?m)^(?=##)", cell.source) if part.strip()]
        else:
            made = _code_and_output(cell, outputs)
        blocks += made
        if cell.markdown and number:
            slides += [[part] for part in made]  # prose begins a slide, with the code and the output that follow it
        elif not 0 < number <= start:  # the imports are on no slide
            slides[-1] += made
    title, body = heading.removeprefix("# ").strip(), "\n\n".join(blocks) + "\n"
    return Lesson(name, title, body, outputs, as_slides(slides))


def _code_and_output(cell: Cell, outputs: list[str]) -> list[str]:
    """A cell as Markdown; what it put out is added to ``outputs``, and a place for it stands in the Markdown."""
    blocks = []
    if not cell.hidden and not only_words(cell.source):
        blocks.append(fenced(cell.source, "python"))
    if cell.printed.strip():
        blocks.append(fenced(cell.printed.rstrip(), "text"))
    alt = alternative(cell.source, cell.hidden)
    shown = "".join(show(mime, data, alt) for mime, data in cell.outputs)
    if shown:
        blocks.append(f'<div class="lesson-output" data-output="{len(outputs)}"></div>')
        outputs.append(shown)
    return blocks


def _notice(name: str) -> str:
    return (
        '!!! note "A static copy"\n'
        "    Run `underhood lessons` to move the sliders, to change the code and to do the exercises.\n"
        f"    This lesson is `lessons/{name}.py` there. To present it here, open its [slides](../slides/{name}.md)."
    )


def as_slides(slides: list[list[str]]) -> str:
    """The page of slides, for docs/theme/slides.html. ``cut`` makes sections of it once Markdown has become HTML."""
    head = "---\ntemplate: slides.html\nsearch: {exclude: true}\n---\n\n"
    text = f"\n\n{CUT}\n\n".join("\n\n".join(slide) for slide in slides)
    return head + re.sub(r"\((\w+)\.md\)", r"(../lessons/\1.md)", text) + "\n"


def cut(page: str) -> str:
    """A page of slides: a section for each."""
    return "".join(f"<section>\n{slide.strip()}\n</section>\n" for slide in page.split(CUT))


def to_pages(text: str) -> str:
    """Links between notebooks, ``(?file=02_tensors.py)``, as links between pages."""
    return re.sub(r"\(\?file=(\w+)\.py\)", r"(\1.md)", text)


def put_in(page: str, outputs: list[str]) -> str:
    """A page's HTML with each output in its place."""
    place = re.compile(r'(<div class="lesson-output") data-output="(\d+)">')
    whole = place.sub(lambda found: f"{found[1]}>{outputs[int(found[2])]}", page)
    return re.sub(r'href="\?file=(\w+)\.py"', r'href="\1.html"', whole)  # in what a cell put out


def fenced(text: str, language: str) -> str:
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text}\n{fence}"


def only_words(source: str) -> bool:
    """Whether a cell only calls ``mo.md``: then its output is shown without its code."""
    return all(
        isinstance(line, ast.Expr) and isinstance(line.value, ast.Call) and ast.unparse(line.value.func) == "mo.md"
        for line in ast.parse(source).body
    )


def alternative(source: str, hidden: bool = False) -> str:
    """The alt text of a figure: the labels of its axes, or else the code that draws it."""
    said: dict[str, str] = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            for keyword in node.keywords:
                if keyword.arg in ("xlabel", "ylabel", "title"):
                    said.setdefault(keyword.arg, _words(keyword.value))
            name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            if name in ("set_xlabel", "set_ylabel", "set_title") and node.args:
                said.setdefault(name.removeprefix("set_"), _words(node.args[0]))
    if said.get("xlabel") or said.get("ylabel"):
        axes = " over ".join(word for word in (said.get("ylabel"), said.get("xlabel")) if word)
        return f"Figure: {axes}" + (f" ({said['title']})" if said.get("title") else "")
    if hidden:
        return "Figure"
    last = source.strip().splitlines()[-1].strip() if source.strip() else ""
    drawn = "Figure, drawn by the code above"
    return f"{drawn}: {last}" if re.match(r"\w[\w.]*\(.*\)$", last) else drawn


def _words(node: ast.expr) -> str:
    return str(node.value) if isinstance(node, ast.Constant) and node.value else ""
