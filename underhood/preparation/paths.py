"""Paths as people write them."""

import os
from pathlib import Path


def expanded(path: str | Path) -> Path:
    """With ``~`` as the home folder; unlike pathlib, a ``~name`` that nobody here has stays what it is."""
    return Path(os.path.expanduser(path))  # noqa: PTH111
