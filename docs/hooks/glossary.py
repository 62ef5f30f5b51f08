"""The course's last page, ``underhood/lessons/19_glossary.py``, made from docs/glossary.md.

``make glossary`` writes it. The page holds the text itself, because docs/ is not installed with the package.
"""

import re
import textwrap
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent.parent
SOURCE = ROOT / "docs" / "glossary.md"
LESSONS = ROOT / "underhood" / "lessons"
PAGE = LESSONS / "19_glossary.py"
COLUMNS = ["term", "meaning", "lesson", "PyTorch", "fastai", "scikit-learn", "the books"]

TEMPLATE = '''import marimo

app = marimo.App(width="medium", app_title="19 · Glossary", layout_file="layouts/19_glossary.slides.json")

with app.setup:
    from itertools import groupby

    import marimo as mo


@app.cell(hide_code=True)
def _():
    mo.md("""
    # 19 · Glossary

    Every term of the course and of the commands, in alphabetical order: what it means, which lesson introduces it, and
    what PyTorch and fastai call it where they use another word. Type a few letters to see only the terms and meanings
    that contain them.
    """)
    return


@app.cell(hide_code=True)
def _():
    wanted = mo.ui.text(label="search", placeholder="for instance: gradient", debounce=False)
    wanted
    return (wanted,)


@app.cell(hide_code=True)
def _():
    # Made from docs/glossary.md by docs/hooks/glossary.py: change it there.
    entries = """
ENTRIES
    """
    return (entries,)


@app.cell(hide_code=True)
def _(entries, wanted):
    found = [
        " ".join(entry.split())
        for entry in entries.split("\\n\\n")
        if wanted.value.strip().lower() in " ".join(entry.split()).lower()
    ]
    _letters = groupby(found, key=lambda entry: entry[2].upper())  # behind the two stars of bold type
    mo.md(
        "\\n\\n".join("\\n\\n".join([f"### {letter}", *some]) for letter, some in _letters)
        or "No term and no meaning contains this."
    )
    return (found,)


if __name__ == "__main__":
    app.run()
'''


class Entry(NamedTuple):
    """A term, as a row of docs/glossary.md has it. lesson: None where no lesson introduces it."""

    term: str
    meaning: str
    lesson: int | None
    pytorch: str
    fastai: str

    def as_markdown(self, files: dict[int, str]) -> str:
        """One paragraph. files: the name of the notebook of each lesson."""
        parts = [f"**{self.term}**: {self.meaning}"]
        if self.lesson is not None:
            parts.append(f"[Lesson {self.lesson}](?file={files[self.lesson]}).")
        words = {"PyTorch": self.pytorch, "fastai": self.fastai}
        other = {library: word for library, word in words.items() if word[0] != "–" and word.strip("`") != self.term}
        if len(set(other.values())) == 1:
            other = {" and ".join(other): next(iter(other.values()))}
        if other:
            parts.append(f"*{'; '.join(f'{library}: {word}' for library, word in other.items())}.*")
        return " ".join(parts)


def read_entries(text: str) -> list[Entry]:
    """The terms of the glossary in alphabetical order. Raises ValueError where a row has not the columns expected."""
    tables = text.partition("## Names that are kept")[0]
    entries = []
    for line in tables.splitlines():
        if not line.startswith("| ") or line.startswith("| ---"):
            continue
        cells = [cell.strip() for cell in line.strip("| ").split(" | ")]
        if len(cells) != len(COLUMNS):
            raise ValueError(f"a row of {SOURCE.name} has not the columns {', '.join(COLUMNS)}: {line}")
        if cells != COLUMNS:
            term, meaning, lesson, pytorch, fastai, *_ = cells
            entries.append(Entry(term, meaning, None if lesson == "–" else int(lesson), pytorch, fastai))
    return sorted(entries, key=lambda entry: re.sub(r"\W", "", entry.term.casefold()))


def make_page(text: str) -> str:
    """The notebook, from the text of docs/glossary.md."""
    files = {int(file.name[:2]): file.name for file in LESSONS.glob("[0-9]*.py")}
    paragraphs = [
        textwrap.fill(
            entry.as_markdown(files), 116, initial_indent="    ", subsequent_indent="    ",
            break_long_words=False, break_on_hyphens=False,
        )
        for entry in read_entries(text)
    ]  # fmt: skip
    return TEMPLATE.replace("ENTRIES", "\n\n".join(paragraphs))


if __name__ == "__main__":
    PAGE.write_text(make_page(SOURCE.read_text("utf-8")), "utf-8")
