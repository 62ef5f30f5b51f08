"""``serve``: a model over HTTP, until SIGINT or SIGTERM."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from underhood.core.errors import RunError
from underhood.data.decode import available_cpus
from underhood.preparation.files import expanduser
from underhood.runs import read_json, sha256
from underhood.runs.calibration import calibration_sha256
from underhood.serving import Predictor
from underhood.training import Reporter

if TYPE_CHECKING:
    import socket


def serve(
    run: str | Path,
    host: str = "127.0.0.1",
    port: int = 8000,
    collect: str | Path | None = None,
    allow_hosts: Sequence[str] = (),
    *,
    reporter: Reporter | None = None,
) -> None:
    """Serve a model over HTTP, with a page to draw on. Returns after SIGINT or SIGTERM, once requests are finished.

    run: a run folder, or an exported ``.onnx`` file
    host, port: the address to listen on; port 0 is any free one. The reporter's ``log`` receives the address
    collect: a folder where the page saves what people draw, by class; None saves nothing
    allow_hosts: names under which clients may reach this server, beside this machine's own addresses and ``host``

    Raises UnderhoodError where the run cannot be loaded, the address is in use, the folder cannot be created, or one of
    ``allow_hosts`` is no host name.
    """
    from underhood.serving.app import make_app
    from underhood.serving.server import allowed_hosts, create_folder, listen, make_server

    allowed = allowed_hosts(host, allow_hosts)
    folder = None if collect is None else create_folder(expanduser(collect))
    listening = listen(host, port)
    try:
        app = make_app(_load(run, reporter or Reporter()), folder)
        _leave_a_core()
        line = f"{_address(host, listening)}  (the page; /docs describes the API; Ctrl-C stops the server)"
        (reporter or Reporter()).log(line)
        make_server(app, allowed).run(sockets=[listening])
    finally:
        listening.close()


def _load(run: str | Path, reporter: Reporter) -> Predictor:
    """The run's predictor. Where it has a certified ``model.onnx``, that computes the probabilities: it is faster.

    Raises RunError where model.onnx, the weights or the calibration are not the files that ``parity.json`` certifies.
    """
    threads = max(1, available_cpus() - 1)  # one core reads requests and writes responses
    predictor = Predictor.load(run, threads)
    folder, exported = predictor.source, predictor.source / "model.onnx"
    if not (exported.is_file() and (folder / "parity.json").is_file() and find_spec("onnxruntime")):
        return predictor
    from underhood.serving.onnx import load_onnx

    certificate = read_json(folder, "parity.json")
    if "model_sha256" not in certificate or "weights_sha256" not in certificate:
        reporter.log(
            f"{folder / 'parity.json'} has no hashes: serves the weights. To use model.onnx: underhood export {run}"
        )
        return predictor
    if certificate["weights_sha256"] != sha256(folder / "weights.safetensors"):
        raise RunError(f"{exported} was exported from other weights: underhood export {run}, or remove model.onnx")
    here = calibration_sha256(folder)
    if certificate.get("calibration_sha256", here) != here:  # older certificates have no such key
        raise RunError(
            f"{exported} was exported with another calibration: underhood export {run}, or remove model.onnx"
        )
    model = load_onnx(exported, str(certificate["model_sha256"]), threads)
    return replace(predictor, probabilities=model.probabilities, outputs=model.outputs)


def _leave_a_core() -> None:
    """Let torch compute on all cores but one, which reads requests and writes responses."""
    torch = sys.modules.get("torch")  # not loaded for a .onnx file
    if torch is not None:
        torch.set_num_threads(max(1, torch.get_num_threads() - 1))


def _address(host: str, listening: "socket.socket") -> str:
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{listening.getsockname()[1]}"
