"""The pages that a browser shows: ``page.css`` is the style that they share, and a page is put together from files."""

import re
from pathlib import Path

INCLUDE = re.compile(r"^/\* include ([\w.-]+) \*/$", re.MULTILINE)


def read_page(path: Path) -> str:
    """The text of a page, with the style sheets and scripts that it includes in their places: it needs no other file.

    path: an HTML file. A line ``/* include NAME */`` in it stands for a file beside it, or for one beside this module.
    """

    def content(found: re.Match[str]) -> str:
        beside = path.parent / found[1]
        file = beside if beside.exists() else Path(__file__).parent / found[1]
        return file.read_text(encoding="utf-8").rstrip("\n")

    return INCLUDE.sub(content, path.read_text(encoding="utf-8"))
