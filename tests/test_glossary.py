"""The course's last page is docs/glossary.md: up to date, complete, with links to the lessons, and searchable."""

import importlib.util
import re
import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from test_course import TERMS

from underhood.lessons import files

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def glossary() -> Any:
    """docs/hooks/glossary.py"""
    spec = importlib.util.spec_from_file_location("glossary", ROOT / "docs" / "hooks" / "glossary.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def found(search: str) -> list[str]:
    """What the page shows for a search."""
    _, defined = runpy.run_path(str(files()[-1]))["app"].run(defs={"wanted": SimpleNamespace(value=search)})
    return list(defined["found"])


def test_the_page_is_made_from_the_glossary(glossary: Any) -> None:
    assert files()[-1] == glossary.PAGE
    made = glossary.make_page(glossary.SOURCE.read_text("utf-8"))
    assert glossary.PAGE.read_text("utf-8") == made, "docs/glossary.md has changed: run `make glossary`"


@pytest.mark.parametrize("term", TERMS)
def test_each_term_of_the_course_is_in_it_with_the_lesson_that_introduces_it(glossary: Any, term: str) -> None:
    entries = glossary.read_entries(glossary.SOURCE.read_text("utf-8"))
    lessons = [entry.lesson for entry in entries if re.sub(r" \(.*", "", entry.term).lower() == term.lower()]
    assert TERMS[term] in lessons


def test_a_row_with_a_cell_too_few_is_an_error(glossary: Any) -> None:
    with pytest.raises(ValueError, match="has not the columns"):
        glossary.read_entries("| pixel | One point of an image. | 1 |\n")


def test_the_page_has_links_to_lessons_that_are_there_and_is_in_alphabetical_order() -> None:
    entries = found("")
    links = {link for entry in entries for link in re.findall(r"\?file=([\w.]+)", entry)}
    assert links <= {file.name for file in files()}
    assert len(links) >= 15
    terms = [re.sub(r"\W", "", entry[2 : entry.index("**", 2)].casefold()) for entry in entries]
    assert terms == sorted(terms)
    assert len(terms) > 100


def test_a_search_finds_terms_and_meanings() -> None:
    assert any(entry.startswith("**softmax**") for entry in found(" SoftM"))
    assert any(entry.startswith("**autograd**") for entry in found("records each"))
    assert found("no such word") == []
