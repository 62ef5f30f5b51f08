"""``underhood lessons``: copy the notebooks to where the reader can edit them, and open the course's page."""

import os
import secrets
import socket
import subprocess
import sys
import time
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from underhood.core.errors import UnderhoodError
from underhood.preparation.files import expanduser
from underhood.runs import atomic_write
from underhood.training import Reporter

if TYPE_CHECKING:
    from starlette.applications import Starlette

PORT = 2718
SECONDS = 120  # that marimo may take to start
SETTINGS = """[tool.marimo.runtime]
auto_instantiate = true  # run a lesson when it is opened

[tool.marimo.display]
theme = "system"  # light or dark, as the reader's other pages
"""


def copy_lessons(out: str | Path = "lessons") -> Path:
    """Copy the lessons that are not there yet, and return the folder. Existing copies are kept.

    Raises UnderhoodError if the folder cannot be written.
    """
    from underhood.lessons import PROGRESS, files
    from underhood.lessons.course import slides

    folder = expanduser(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in files():
            if not (folder / file.name).exists():
                atomic_write(folder / file.name, file.read_bytes())
        (folder / "layouts").mkdir(exist_ok=True)
        others = {"pyproject.toml": SETTINGS, PROGRESS: "{}"}
        others |= {f"layouts/{file.stem}.slides.json": slides(file.read_text("utf-8")) for file in files()}
        for name, text in others.items():
            if not (folder / name).exists():
                atomic_write(folder / name, text.encode())
    except OSError as error:
        raise UnderhoodError(f"cannot write to {folder} ({error.strerror}): choose another folder with --out") from None
    return folder


def open_lessons(
    out: str | Path = "lessons", port: int | None = None, browser: bool = True, *, reporter: Reporter | None = None
) -> None:
    """Open the course's page, from which marimo opens the lessons, until the process is stopped.

    out: the folder with the reader's copies; port: of the page, by default the first free one from 2718; browser:
    open one. Raises UnderhoodError if marimo is missing, the folder cannot be written or the port is in use.
    """
    from underhood.lessons.course import make_app

    if find_spec("marimo") is None:
        raise UnderhoodError("the lessons need marimo: pip install 'underhood-vision[lessons]'")
    with _listen(port) as listener, _listen(0) as reserved:
        folder = copy_lessons(out).resolve()
        address, other = (f"http://127.0.0.1:{one.getsockname()[1]}" for one in (listener, reserved))
        token = secrets.token_urlsafe(16)
        reserved.close()
        with _notebooks(folder, int(other.rpartition(":")[2]), token):
            whole = f"{address}?access_token={token}"
            listener.listen()  # before the address is known to anybody
            log = (reporter or Reporter()).log
            log(f"The course is open, with your copies of the lessons in {folder}. Ctrl+C closes it.")
            log(f"URL: {whole}")
            if browser:
                webbrowser.open(whole)
            _serve(make_app(folder, other, token), listener)


def _serve(app: "Starlette", listener: socket.socket) -> None:
    import uvicorn

    config = uvicorn.Config(app, log_level="warning", lifespan="off")
    with suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listener])


@contextmanager
def _notebooks(folder: Path, port: int, token: str) -> Iterator[None]:
    """marimo on the lessons, in a process of its own that ends with this one, for those who have the token."""
    # -P: files of the current folder must not shadow modules
    command = [
        sys.executable, "-P", "-m", "marimo", "edit", str(folder), "--skip-update-check", "--headless",
        "--port", str(port), "--token-password-file", "-", "--no-skew-protection",
    ]  # fmt: skip
    # the models are so small that a second thread mostly waits, above all beside other programs
    environment = {"OMP_NUM_THREADS": "1"} | os.environ
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=environment, start_new_session=True
    ) as process:
        assert process.stdin is not None
        process.stdin.write(token.encode())
        process.stdin.close()
        try:
            _wait_for(process, port)
            yield
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()


def _wait_for(process: "subprocess.Popen[bytes]", port: int) -> None:
    """Wait until marimo answers. Raises UnderhoodError where it does not."""
    for _ in range(SECONDS * 10):
        if process.poll() is not None:
            break
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    raise UnderhoodError("marimo does not start: try `python -m marimo edit` to see why")


def _listen(port: int | None) -> socket.socket:
    """A socket on this machine's own address. port: None for the first free one from ``PORT``, 0 for any."""
    for number in range(PORT, PORT + 100) if port is None else [port]:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", number))
        except OSError as error:
            listener.close()
            if port is not None:
                raise UnderhoodError(
                    f"cannot listen on port {port} ({error.strerror}): choose another --port"
                ) from None
        else:
            return listener
    raise UnderhoodError(f"no port from {PORT} to {PORT + 99} is free: choose another --port")
