"""The lessons, which follow the books' chapters with running code. ``underhood lessons`` opens them.

Each is a marimo notebook beside this file: plain Python, whose cells run again when what they use changes. They use the
public package; this file has what they share: their data, tables, and the check of an exercise.
"""

import base64
import html
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import dedent
from typing import Any

import numpy as np
from PIL import Image

from underhood.core.errors import DataError
from underhood.core.images import Dataset, Images
from underhood.data.named import read_named
from underhood.data.read import read
from underhood.runs import atomic_write

PROGRESS = "progress.json"  # beside a reader's copies: which exercises are solved
MNIST_IS_HERE = "These are MNIST's images, 28 × 28."
MNIST_IS_NOT = (
    "**MNIST is not on this machine**, so these are the smaller digits that come with scikit-learn, 8 × 8: figures "
    "differ from the book's. `underhood get mnist` fetches MNIST (11 MB); then open the lesson again."
)


def files() -> list[Path]:
    """The notebooks, in order."""
    return sorted(Path(__file__).parent.glob("[0-9]*.py"))


def load(name: str = "mnist-3v7") -> tuple[Dataset, str]:
    """The data set of a lesson, and a sentence (Markdown) that says which it is. Nothing is downloaded.

    name: "mnist", or "mnist-3v7", its 3s and 7s; if MNIST is not on this machine, the same digits of scikit-learn's
    """
    try:
        read_named("mnist", download=False)
    except DataError:
        digits = read("digits")
        if name != "mnist-3v7":
            return digits, MNIST_IS_NOT
        return replace(digits, train=_only(digits.train, "37"), valid=_only(digits.valid, "37")), MNIST_IS_NOT
    return read(name), MNIST_IS_HERE


def write_files(dataset: Dataset, each: int = 12) -> Path:
    """Write the first images of each class as PNG files, and return the folder: train/3/10.png, …, valid/7/1032.png.

    It disappears with the process.
    """
    folder = Path(_temporary().name, f"digits-{len(dataset.train)}")
    for part, images in (("train", dataset.train), ("valid", dataset.valid)):
        for label, name in enumerate(images.classes):
            (folder / part / name).mkdir(parents=True, exist_ok=True)
            for i in np.flatnonzero(images.labels == label)[:each]:
                file = folder / part / name / f"{Path(images.names[i]).stem}.png"
                Image.fromarray(images.pixels[i, 0]).save(file)
    return folder


@lru_cache
def _temporary() -> "TemporaryDirectory[str]":
    return TemporaryDirectory(prefix="underhood-lesson-")


def _only(images: Images, classes: str) -> Images:
    labels = np.array([classes.find(name) for name in images.classes])[images.labels]
    kept = images.take(labels >= 0)
    return Images(kept.pixels, labels[labels >= 0], tuple(classes), kept.names)


def table(rows: Sequence[Mapping[str, Any]]) -> Any:
    """A small table for a marimo cell. rows: column → value, with the same columns each."""
    import marimo as mo

    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    return mo.md("\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines))


def figure(drawn: Any, alt: str) -> Any:
    """A figure for a marimo cell, with a text alternative: what somebody who cannot see it needs to know of it.

    drawn: matplotlib's Figure or Axes, which is closed
    """
    import marimo as mo
    import matplotlib.pyplot as plt

    whole = getattr(drawn, "figure", None) or drawn
    with io.BytesIO() as file:
        whole.savefig(file, format="png", dpi=110, bbox_inches="tight")
        data = base64.b64encode(file.getvalue()).decode()
    plt.close(whole)
    style = "max-width: 100%; max-height: 590px; background: white; border-radius: 4px"  # marimo cuts what is higher
    return mo.Html(f'<img alt="{html.escape(alt)}" style="{style}" src="data:image/png;base64,{data}">')


def exercise(
    name: str, answer: Any, right: Callable[[Any], Any], hints: tuple[str, str, str], solution: str,
    arguments: tuple[Any, ...] | None = None,
) -> Any:  # fmt: skip
    """Check a reader's answer: a coloured box for a marimo cell, with hints and a solution to open below it.

    name: of the exercise, "3.2" for the second one of lesson 3; beside the reader's copies it is noted once solved
    answer: ``...`` until something is filled in; right: whether an answer is right
    hints: Markdown, each telling more than the one before; solution: the code that could stand in the reader's cell
    arguments: for an answer that is a function, what to call it with; its result is checked. Its errors are shown
    """
    import marimo as mo

    hidden = {f"Hint {number}": mo.md(hint) for number, hint in enumerate(hints, 1)}
    hidden["A solution"] = mo.md(f"```python\n{dedent(solution).strip()}\n```")
    return mo.vstack([_judge(name, answer, right, arguments), mo.accordion(hidden)])


def _judge(name: str, answer: Any, right: Callable[[Any], Any], arguments: tuple[Any, ...] | None) -> Any:
    import marimo as mo

    try:
        given = answer if arguments is None else answer(*arguments)
        if given is ...:
            return mo.callout(mo.md("**Your turn**: put your answer in place of the `...` above."), "neutral")
        good = bool(right(given))
    except Exception as error:  # a reader's code may raise anything
        return mo.callout(mo.md(f"**Not yet**: your code raises `{type(error).__name__}: {error}`."), "danger")
    if not good:
        return mo.callout(mo.md("**Not yet.** Try again, or open a hint."), "warn")
    note_solved(name, mo.notebook_dir())
    return mo.callout(mo.md("**Right.**"), "success")


def note_solved(name: str, folder: Path | None) -> None:
    """Add an exercise to the reader's ``progress.json``, if the folder has one: name → the day it was solved."""
    file = (folder or Path()) / PROGRESS
    if not file.exists():  # the notebook is no copy that ``underhood lessons`` made
        return
    solved = json.loads(file.read_text("utf-8"))
    if name not in solved:
        atomic_write(file, json.dumps(solved | {name: str(date.today())}, indent=2).encode())
