"""``lessons``: the notebooks, copied to where the reader may write in them, and marimo to open them with."""

import os
import socket
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from underhood.core.errors import UnderhoodError
from underhood.preparation.paths import expanded
from underhood.runs.folder import write_whole

SETTINGS = "[tool.marimo.runtime]\nauto_instantiate = true  # run a lesson when it is opened\n"


def copy_lessons(out: str | Path = "lessons") -> Path:
    """Copy the lessons that are not there yet; a reader's own copies stay as they are. Raises UnderhoodError."""
    from underhood.lessons import files

    folder = expanded(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in files():
            if not (folder / file.name).exists():
                write_whole(folder / file.name, file.read_bytes())
        if not (folder / "pyproject.toml").exists():
            write_whole(folder / "pyproject.toml", SETTINGS.encode())
    except OSError as error:
        raise UnderhoodError(f"cannot write to {folder} ({error.strerror}): choose another folder with --out") from None
    return folder


def open_lessons(out: str | Path = "lessons", port: int | None = None, browser: bool = True) -> NoReturn:
    """Open the lessons in marimo, which takes this process's place. Raises UnderhoodError."""
    if find_spec("marimo") is None:
        raise UnderhoodError("the lessons need marimo: pip install 'underhood[lessons]'")
    if port is not None:
        _require_free(port)
    # -P: what lies in this folder is not taken for a part of Python
    command = [sys.executable, "-P", "-m", "marimo", "edit", str(copy_lessons(out).resolve()), "--skip-update-check"]
    command += [] if port is None else ["--port", str(port)]
    command += [] if browser else ["--headless"]
    # what they train is so small that a second thread waits more than it works, above all beside other programs
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.execv(sys.executable, command)


def _require_free(port: int) -> None:
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("127.0.0.1", port))
        except OSError as error:
            raise UnderhoodError(f"cannot listen on port {port} ({error.strerror}): choose another --port") from None
