"""The process that serves: a listening socket, and uvicorn with limits on what clients may take."""

import base64
import json
import socket
import threading
import time
from asyncio import TimerHandle, Transport
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from underhood.core.errors import UnderhoodError
from underhood.data.files import encode_png
from underhood.serving import Predictor, requests

if TYPE_CHECKING:
    from fastapi import FastAPI

BACKLOG = 2048  # connections that the operating system holds until they are accepted
SHUTDOWN_TIMEOUT = 10  # seconds for requests in flight when the server stops
MAX_HEADER_BYTES = 64_000  # of a request


class HeaderTimeoutProtocol(HttpToolsProtocol):
    """uvicorn's protocol with a limit on headers: 408 if they are slower than ``requests.TIMEOUT``, 431 if too long.

    uvicorn itself waits for headers without an end, and accepts any number of them.
    """

    _timer: TimerHandle | None = None  # running while headers are awaited
    _header_bytes = 0

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Start the timer for the first request."""
        super().connection_made(transport)
        self._start_timer()

    def on_message_begin(self) -> None:
        """Start the timer for a request."""
        super().on_message_begin()
        self._start_timer()

    def on_headers_complete(self) -> None:
        """Stop the timer: the body follows."""
        self._stop_timer()
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Count the bytes of the headers."""
        self._header_bytes += len(data)
        super().data_received(data)
        if self._timer is not None and self._header_bytes > MAX_HEADER_BYTES:
            self._refuse(b"431 Request Header Fields Too Large")

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer."""
        self._stop_timer()
        super().connection_lost(exc)

    def _start_timer(self) -> None:
        if self._timer is None:
            self._header_bytes = 0
            self._timer = self.loop.call_later(requests.TIMEOUT, self._refuse, b"408 Request Timeout")

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, status: bytes) -> None:
        self._stop_timer()
        if not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 " + status + b"\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            self.transport.close()


def make_server(app: "FastAPI", log_level: str = "warning") -> uvicorn.Server:
    """A server of an application. Run it with ``run(sockets=[listen(host, port)])``."""
    config = uvicorn.Config(
        app,
        http=HeaderTimeoutProtocol,
        log_level=log_level,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=SHUTDOWN_TIMEOUT,
        server_header=False,
    )
    return uvicorn.Server(config)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 is any free one. Raises UnderhoodError where the address cannot be used."""
    listening = None
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(BACKLOG)
        return listening
    except (OSError, UnicodeError) as error:
        if listening is not None:
            listening.close()
        why = getattr(error, "strerror", None) or "no such host"
        raise UnderhoodError(
            f"cannot listen on {host!r}, port {port} ({why}): choose another with --port or --host"
        ) from None


def create_folder(path: Path) -> Path:
    """Create the folder of ``--collect``. Raises UnderhoodError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnderhoodError(f"cannot create {path} ({error.strerror}): choose another folder with --collect") from None
    return path


@contextmanager
def served(predictor: Predictor) -> Iterator[int]:
    """Serve a model on this machine, in a thread, for the length of a ``with`` block. Yields the port.

    Raises UnderhoodError where the server does not start.
    """
    from underhood.serving.app import make_app

    listening = listen("127.0.0.1", 0)
    server = make_server(make_app(predictor), "error")
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        while not server.started:
            if not thread.is_alive():
                raise UnderhoodError("the server did not start")
            time.sleep(0.01)
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(SHUTDOWN_TIMEOUT)
        listening.close()


def served_probabilities(predictor: Predictor, pixels: np.ndarray) -> np.ndarray:
    """A model's probabilities over HTTP, float32 [n, classes], for images uint8 [n, c, h, w] that are sent as PNG."""
    column = {name: i for i, name in enumerate(predictor.classes)}
    rows = np.zeros((len(pixels), len(column)), np.float32)
    with served(predictor) as port:
        connection = HTTPConnection("127.0.0.1", port, timeout=60)
        per_request = max(1, min(requests.MAX_IMAGES, requests.MAX_BYTES // 2 // pixels[0].nbytes))
        for start in range(0, len(pixels), per_request):
            texts = [base64.b64encode(encode_png(image)).decode() for image in pixels[start : start + per_request]]
            body = json.dumps({"inputs": texts, "parameters": {"top_k": len(column)}})
            connection.request("POST", "/api/predict", body, {"Content-Type": "application/json"})
            for row, result in enumerate(json.loads(connection.getresponse().read())["results"], start):
                for prediction in result["predictions"]:
                    rows[row, column[prediction["label"]]] = prediction["score"]
        connection.close()
    return rows
