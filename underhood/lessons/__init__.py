"""The lessons, which follow the books' chapters with running code. ``underhood lessons`` opens them.

Each is a marimo notebook beside this file: plain Python, whose cells run again when what they use changes. They use the
public package; this file has what they share: their data, tables, and the check of an exercise.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from underhood.core.errors import DataError
from underhood.core.images import Dataset, Images
from underhood.data.named import read_named
from underhood.data.read import read

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


def _only(images: Images, classes: str) -> Images:
    labels = np.array([classes.find(name) for name in images.classes])[images.labels]
    kept = images.take(labels >= 0)
    return Images(kept.pixels, labels[labels >= 0], tuple(classes), kept.names)


def table(rows: Sequence[Mapping[str, Any]]) -> Any:
    """A small table for a marimo cell. rows: column → value, with the same columns each."""
    import marimo as mo

    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    return mo.md("\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines))


def exercise(answer: Any, right: Callable[[Any], Any], hint: str, arguments: tuple[Any, ...] | None = None) -> Any:
    """Check a reader's answer: a coloured box for a marimo cell.

    answer: ``...`` until something is filled in; right: whether an answer is right; hint: Markdown, for a wrong answer
    arguments: for an answer that is a function, what to call it with; its result is checked. Its errors are shown
    """
    import marimo as mo

    try:
        given = answer if arguments is None else answer(*arguments)
        if given is ...:
            return mo.callout(mo.md("**Your turn**: put your answer in place of the `...` above."), "neutral")
        good = bool(right(given))
    except Exception as error:  # a reader's code may raise anything
        return mo.callout(mo.md(f"**Not yet**: your code raises `{type(error).__name__}: {error}`."), "danger")
    if good:
        return mo.callout(mo.md("**Right.**"), "success")
    return mo.callout(mo.md(f"**Not yet.** {hint}"), "warn")
