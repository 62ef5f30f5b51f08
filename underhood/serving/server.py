"""The process that serves: a socket, uvicorn, and an end that finishes what is in flight."""

import socket
from pathlib import Path

from underhood.errors import UnderhoodError
from underhood.paths import expanded

WAITING = 2048  # connections that the system holds before they are taken
LAST = 30  # seconds for what is in flight when it is to end


def serve(run: str | Path, host: str = "127.0.0.1", port: int = 8000, collect: str | Path | None = None) -> None:
    """Serve a run folder or an exported file until SIGINT or SIGTERM. Raises UnderhoodError."""
    import uvicorn

    from underhood.serving.app import make_app
    from underhood.serving.predictor import Predictor

    folder = None if collect is None else _folder(expanded(collect))
    listening = _listen(host, port)
    try:
        app = make_app(Predictor.load(run), folder)
        at = listening.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        print(f"http://{shown}:{at}  (the page; /docs has the interface; Ctrl-C ends it)", flush=True)  # noqa: T201
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, timeout_graceful_shutdown=LAST, server_header=False
        )
        uvicorn.Server(config).run(sockets=[listening])
    finally:
        listening.close()


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(WAITING)
    except OSError as error:
        raise UnderhoodError(
            f"cannot listen on {host}:{port} ({error.strerror or error}): choose another with --port or --host"
        ) from None
    return listening


def _folder(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnderhoodError(f"cannot create {path} ({error.strerror}): choose another folder with --collect") from None
    return path
