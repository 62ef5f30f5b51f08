"""``lessons``: the notebooks, copied to where the reader may write in them, and marimo to open them with."""

import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from underhood.errors import UnderhoodError
from underhood.paths import expanded

SETTINGS = "[tool.marimo.runtime]\nauto_instantiate = true  # run a lesson when it is opened\n"


def copy_lessons(out: str | Path = "lessons") -> Path:
    """Copy the lessons that are not there yet; a reader's own copies stay as they are. Raises UnderhoodError."""
    from underhood.lessons import files

    folder = expanded(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in files():
            if not (folder / file.name).exists():
                shutil.copyfile(file, folder / file.name)
        if not (folder / "pyproject.toml").exists():
            (folder / "pyproject.toml").write_text(SETTINGS)
    except OSError as error:
        raise UnderhoodError(f"cannot write to {folder} ({error.strerror}): choose another folder with --out") from None
    return folder


def open_lessons(out: str | Path = "lessons", port: int | None = None, browser: bool = True) -> NoReturn:
    """Open the lessons in marimo, which takes this process's place. Raises UnderhoodError."""
    if find_spec("marimo") is None:
        raise UnderhoodError("the lessons need marimo: pip install 'underhood[lessons]'")
    command = [sys.executable, "-m", "marimo", "edit", str(copy_lessons(out)), "--skip-update-check"]
    command += [] if port is None else ["--port", str(port)]
    command += [] if browser else ["--headless"]
    # what they train is so small that a second thread waits more than it works, above all beside other programs
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.execv(sys.executable, command)
