"""``underhood lessons``: copy the notebooks to where the reader can edit them, and open them in marimo."""

import os
import socket
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from underhood.core.errors import UnderhoodError
from underhood.preparation.files import expanduser
from underhood.runs import atomic_write

SETTINGS = "[tool.marimo.runtime]\nauto_instantiate = true  # run a lesson when it is opened\n"


def copy_lessons(out: str | Path = "lessons") -> Path:
    """Copy the lessons that are not there yet, and return the folder. Existing copies are kept.

    Raises UnderhoodError if the folder cannot be written.
    """
    from underhood.lessons import files

    folder = expanduser(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in files():
            if not (folder / file.name).exists():
                atomic_write(folder / file.name, file.read_bytes())
        if not (folder / "pyproject.toml").exists():
            atomic_write(folder / "pyproject.toml", SETTINGS.encode())
    except OSError as error:
        raise UnderhoodError(f"cannot write to {folder} ({error.strerror}): choose another folder with --out") from None
    return folder


def open_lessons(out: str | Path = "lessons", port: int | None = None, browser: bool = True) -> NoReturn:
    """Open the lessons in marimo, which replaces this process.

    out: the folder with the reader's copies; port: of the server, a free one by default; browser: open one
    Raises UnderhoodError if marimo is missing, the folder cannot be written or the port is in use.
    """
    if find_spec("marimo") is None:
        raise UnderhoodError("the lessons need marimo: pip install 'underhood-vision[lessons]'")
    if port is not None:
        _require_free(port)
    # -P: files of the current folder must not shadow modules
    command = [sys.executable, "-P", "-m", "marimo", "edit", str(copy_lessons(out).resolve()), "--skip-update-check"]
    command += [] if port is None else ["--port", str(port)]
    command += [] if browser else ["--headless"]
    # the models are so small that a second thread mostly waits, above all beside other programs
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.execv(sys.executable, command)


def _require_free(port: int) -> None:
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("127.0.0.1", port))
        except OSError as error:
            raise UnderhoodError(f"cannot listen on port {port} ({error.strerror}): choose another --port") from None
