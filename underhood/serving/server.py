"""The process that serves: a listening socket, uvicorn, and which hosts and origins it answers to.

Without the last any page that you visit could use a server on your own machine: by its own name, once that name points
to 127.0.0.1 (DNS rebinding), or by ``fetch`` in the background.
"""

import base64
import hashlib
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from http.client import HTTPConnection
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import uvicorn

from underhood.analysis.calibration import Answers
from underhood.core.errors import UnderhoodError
from underhood.data.files import encode_png
from underhood.serving import Predictor, requests
from underhood.serving.connections import LimitedProtocol

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import ASGIApp, Receive, Scope, Send

BACKLOG = 2048  # connections that the operating system holds until they are accepted
ADDRESS = re.compile(r"(\[[0-9a-f:.]+\]|[^\[\]:/@?#\s]+)(:\d*)?")  # host, host:port or [IPv6]:port
SHUTDOWN_TIMEOUT = 10  # seconds for requests in flight when the server stops


def allowed_hosts(host: str = "127.0.0.1", names: Iterable[str] = ()) -> Callable[..., bool]:
    """Whether a ``Host`` header is answered, as a function of its value, and of ``any_address=False`` for an origin.

    host: the address that the server listens on
    names: further host names, those of ``--allow-host``

    Loopback addresses, ``host`` and ``names`` are allowed, with any port. A server that listens on all addresses also
    answers to any IP address and to the machine's name: neither can be made to point here by somebody else's DNS. The
    origin of a page may not be any address: somebody else's page may have one.
    Raises UnderhoodError for a name that is none.
    """
    known = {"localhost", _host_name(host)}
    for name in names:
        if ":" in name or not ADDRESS.fullmatch(name.lower()) or not _host_name(name):
            raise UnderhoodError(f"--allow-host {name!r} is not a host name: leave scheme, port and path out")
        known.add(_host_name(name))
    everywhere = _host_name(host) in ("", "0", "0.0.0.0", "::")
    if everywhere:
        known.add(_host_name(socket.gethostname()))

    @lru_cache(1024)
    def allowed(value: str, any_address: bool = everywhere) -> bool:
        name = _name_without_port(value)
        try:
            return ip_address(name).is_loopback or any_address or name in known
        except ValueError:
            return name != "" and name in known

    return allowed


def _name_without_port(value: str) -> str:
    """The name in a ``Host`` header or after an origin's ``://``; empty if there is none."""
    found = ADDRESS.fullmatch(value.lower())
    return _host_name(found[1]) if found else ""


def _host_name(text: str) -> str:
    """A name in lower case, without the dot at its end, or an address in its usual spelling."""
    name = text.lower().strip("[]").rstrip(".")
    try:
        return str(ip_address(name))
    except ValueError:
        return name


def security_headers(*pages: str) -> list[tuple[str, str]]:
    """The headers of every response: pages load nothing from elsewhere, and are shown in no other page's frame.

    pages: HTML whose inline scripts and styles may be used
    """
    scripts, styles = (
        " ".join(f"'sha256-{_digest(text)}'" for page in pages for text in re.findall(pattern, page, re.DOTALL))
        for pattern in (r"<script>(.*?)</script>", r"<style>(.*?)</style>")
    )
    policy = (
        f"default-src 'none'; script-src 'self' {scripts}; style-src 'self' {styles}; img-src 'self' data:; "
        "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    )
    return [
        ("Content-Security-Policy", policy),
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "no-referrer"),
    ]


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


class Guard:
    """An ASGI application that answers 403 to foreign hosts, and to changes that a page of another origin asks for.

    allowed: see ``allowed_hosts``. Nothing of a refused request's body is read.
    """

    def __init__(self, app: "ASGIApp", allowed: Callable[..., bool]):
        self._app, self._allowed = app, allowed

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Answer a request, or pass it on."""
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        if refusal is None:
            await self._app(scope, receive, send)
            return
        body = json.dumps({"detail": refusal}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 403, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _refusal(self, scope: "Scope") -> str | None:
        hosts, origin, site = [], None, None
        for name, value in scope["headers"]:
            if name == b"host":
                hosts.append(value.decode("latin-1"))
            elif name == b"origin":
                origin = value.decode("latin-1")
            elif name == b"sec-fetch-site":
                site = value
        if len(hosts) != 1:
            return "the request must have one Host header"
        if not self._allowed(hosts[0]):
            return f"this server does not answer to the host {hosts[0][:100]!r}: start it with --allow-host NAME"
        if scope["method"] in ("GET", "HEAD"):
            return None
        page = hosts[0] if origin is None else origin.partition("://")[2]
        same = _name_without_port(page) == _name_without_port(hosts[0])
        if site == b"cross-site" or not (same or self._allowed(page, any_address=False)):
            return "requests from pages of other origins are refused"
        return None


def make_server(
    app: "FastAPI", allowed: Callable[..., bool] | None = None, log_level: str = "warning"
) -> uvicorn.Server:
    """A server of an application. Run it with ``run(sockets=[listen(host, port)])``.

    allowed: see ``allowed_hosts``; by default loopback addresses
    """
    config = uvicorn.Config(
        Guard(app, allowed or allowed_hosts()),
        http=LimitedProtocol,
        ws="none",
        proxy_headers=False,
        log_level=log_level,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=SHUTDOWN_TIMEOUT,
        server_header=False,
        headers=security_headers(*app.state.pages),
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
def running(app: "FastAPI", listening: socket.socket, allowed: Callable[..., bool] | None = None) -> Iterator[None]:
    """An application that answers on a socket, in a thread, for the length of a ``with`` block.

    Raises UnderhoodError where the server does not start.
    """
    server = make_server(app, allowed, log_level="error")
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        while not server.started:
            if not thread.is_alive():
                raise UnderhoodError("the server did not start")
            time.sleep(0.01)
        yield
    finally:
        server.should_exit = True
        thread.join(SHUTDOWN_TIMEOUT)


@contextmanager
def served(predictor: Predictor, collect: Path | None = None) -> Iterator[int]:
    """Serve a model on this machine, in a thread, for the length of a ``with`` block. Yields the port.

    collect: a folder where ``/api/collect`` saves images by class
    Raises UnderhoodError where the server does not start.
    """
    from underhood.serving.app import make_app

    with listen("127.0.0.1", 0) as listening, running(make_app(predictor, collect), listening):
        yield listening.getsockname()[1]


def served_answers(predictor: Predictor, pixels: np.ndarray) -> Answers:
    """What a model says over HTTP of images, uint8 [n, c, h, w], that are sent as PNG: as ``Predictor.answers``."""
    column = {name: i for i, name in enumerate(predictor.classes)}
    rows = np.zeros((len(pixels), len(column)), np.float32)
    sets: np.ndarray | None = np.zeros(rows.shape, bool)
    reasons: list[str] = []
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
                reasons.append(result["reason"] or "")
                if sets is None or result["set"] is None:
                    sets = None
                else:
                    sets[row, [column[label] for label in result["set"]]] = True
        connection.close()
    return Answers(rows, sets, reasons)
