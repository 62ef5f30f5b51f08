"""The glossary: it has no exercises, and tests/test_glossary.py compares it with docs/glossary.md."""

from collections.abc import Mapping
from typing import Any

WRONG: dict[str, Any] = {}


def reached(d: Mapping[str, Any], mnist: bool) -> bool:
    """It shows every term where nothing is searched for."""
    return len(d["found"]) > 100
