"""The process that serves: a socket, uvicorn, and an end that finishes what is in flight."""

import base64
import io
import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.client import HTTPConnection
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from underhood.core.errors import UnderhoodError
from underhood.preparation.paths import expanded
from underhood.serving.predictor import Predictor

WAITING = 2048  # connections that the system holds before they are taken
LAST = 10  # seconds for what is in flight when it is to end


def serve(run: str | Path, host: str = "127.0.0.1", port: int = 8000, collect: str | Path | None = None) -> None:
    """Serve a run folder or an exported file until SIGINT or SIGTERM. Raises UnderhoodError."""
    import uvicorn

    from underhood.serving.app import make_app
    from underhood.serving.protocol import Patient

    folder = None if collect is None else _folder(expanded(collect))
    listening = _listen(host, port)
    try:
        app = make_app(_quick(Predictor.load(run)), folder)
        _leave_a_core()
        at = listening.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        print(f"http://{shown}:{at}  (the page; /docs has the interface; Ctrl-C ends it)", flush=True)  # noqa: T201
        config = uvicorn.Config(
            app,
            http=Patient,
            log_level="warning",
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=LAST,
            server_header=False,
        )
        uvicorn.Server(config).run(sockets=[listening])
    finally:
        listening.close()


def _quick(predictor: Predictor) -> Predictor:
    """The same, answering through the run's certified ``model.onnx`` where there is one, which is far quicker."""
    exported = predictor.source / "model.onnx"
    if exported.is_file() and (predictor.source / "parity.json").is_file() and find_spec("onnxruntime"):
        from underhood.serving.onnx import load_onnx

        return replace(predictor, probabilities=load_onnx(exported).probabilities)
    return predictor


def _leave_a_core() -> None:
    """Compute on all cores but one, which reads requests and writes answers."""
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(max(1, torch.get_num_threads() - 1))


def _listen(host: str, port: int) -> socket.socket:
    listening = None
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(WAITING)
        return listening
    except (OSError, UnicodeError) as error:
        if listening is not None:
            listening.close()
        why = getattr(error, "strerror", None) or "no such host"
        raise UnderhoodError(
            f"cannot listen on {host!r}, port {port} ({why}): choose another with --port or --host"
        ) from None


def _folder(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnderhoodError(f"cannot create {path} ({error.strerror}): choose another folder with --collect") from None
    return path


@contextmanager
def served(predictor: Predictor) -> Iterator[int]:
    """Within, a thread serves the model on this machine; gives the port. Raises UnderhoodError if it cannot."""
    import uvicorn

    from underhood.serving.app import make_app
    from underhood.serving.protocol import Patient

    listening = _listen("127.0.0.1", 0)
    server = uvicorn.Server(
        uvicorn.Config(make_app(predictor), http=Patient, log_level="error", access_log=False, lifespan="off")
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        while not server.started:
            if not thread.is_alive():
                raise UnderhoodError("the server could not be started")
            time.sleep(0.01)
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(LAST)
        listening.close()


def served_probabilities(predictor: Predictor, pixels: np.ndarray) -> np.ndarray:
    """What the model answers over HTTP to pictures, uint8 [n, c, h, w], sent as PNG: float32 [n, classes]."""
    from PIL import Image

    from underhood.serving.requests import MOST_BYTES, MOST_PICTURES

    column = {name: i for i, name in enumerate(predictor.classes)}
    rows = np.zeros((len(pixels), len(column)), np.float32)
    with served(predictor) as port:
        connection = HTTPConnection("127.0.0.1", port, timeout=60)
        together = max(1, min(MOST_PICTURES, MOST_BYTES // 2 // pixels[0].nbytes))
        for start in range(0, len(pixels), together):
            texts = []
            for picture in pixels[start : start + together]:
                file = io.BytesIO()
                Image.fromarray(picture[0] if len(picture) == 1 else picture.transpose(1, 2, 0)).save(file, "PNG")
                texts.append(base64.b64encode(file.getvalue()).decode())
            asked = json.dumps({"inputs": texts, "parameters": {"top_k": len(column)}})
            connection.request("POST", "/api/predict", asked, {"Content-Type": "application/json"})
            for place, told in enumerate(json.loads(connection.getresponse().read())["results"]):
                for one in told["predictions"]:
                    rows[start + place, column[one["label"]]] = one["score"]
        connection.close()
    return rows
