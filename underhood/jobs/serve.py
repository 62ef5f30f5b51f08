"""``serve``: a model over HTTP, until SIGINT or SIGTERM."""

import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from underhood.preparation.files import expanduser
from underhood.serving import Predictor
from underhood.training import Reporter

if TYPE_CHECKING:
    import socket


def serve(
    run: str | Path,
    host: str = "127.0.0.1",
    port: int = 8000,
    collect: str | Path | None = None,
    *,
    reporter: Reporter | None = None,
) -> None:
    """Serve a model over HTTP, with a page to draw on. Returns after SIGINT or SIGTERM, once requests are finished.

    run: a run folder, or an exported ``.onnx`` file
    host, port: the address to listen on; port 0 is any free one. The reporter's ``log`` receives the address
    collect: a folder where the page saves what people draw, by class; None saves nothing

    Raises UnderhoodError where the run cannot be loaded, the address is in use or the folder cannot be created.
    """
    from underhood.serving.app import make_app
    from underhood.serving.server import create_folder, listen, make_server

    folder = None if collect is None else create_folder(expanduser(collect))
    listening = listen(host, port)
    try:
        app = make_app(_load(run), folder)
        _leave_a_core()
        line = f"{_address(host, listening)}  (the page; /docs describes the API; Ctrl-C stops the server)"
        (reporter or Reporter()).log(line)
        make_server(app).run(sockets=[listening])
    finally:
        listening.close()


def _load(run: str | Path) -> Predictor:
    """The run's predictor. Where it has a certified ``model.onnx``, that computes the probabilities: it is faster."""
    predictor = Predictor.load(run)
    exported = predictor.source / "model.onnx"
    if exported.is_file() and (predictor.source / "parity.json").is_file() and find_spec("onnxruntime"):
        return replace(predictor, probabilities=Predictor.load(exported).probabilities)
    return predictor


def _leave_a_core() -> None:
    """Let torch compute on all cores but one, which reads requests and writes responses."""
    torch = sys.modules.get("torch")  # not loaded for a .onnx file
    if torch is not None:
        torch.set_num_threads(max(1, torch.get_num_threads() - 1))


def _address(host: str, listening: "socket.socket") -> str:
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{listening.getsockname()[1]}"
