"""``export``: a run as one ONNX file, with a certificate that both give the same predictions."""

import os
from contextlib import suppress
from pathlib import Path
from typing import TypedDict

import numpy as np

from underhood.core.errors import RunError, UnderhoodError
from underhood.jobs.evaluate import evaluation_images
from underhood.preparation.files import expanduser
from underhood.runs import sha256, write_json
from underhood.runs.checkpoint import load_run
from underhood.runs.folder import read_config
from underhood.serving import Predictor
from underhood.serving.onnx import write_onnx
from underhood.serving.server import served_probabilities
from underhood.training import Reporter

MAX_DIFFERENCE = 1e-4  # of a probability


class Certificate(TypedDict):
    """How an exported model compares with its run on the validation images."""

    largest_difference: float  # of a probability
    agreement: float  # fraction of equal labels
    images: int


class ExportResult(Certificate):
    """What ``export`` returns, and writes to ``parity.json``."""

    onnx: str  # path
    model_sha256: str  # of model.onnx: the certificate is for this file
    weights_sha256: str  # of weights.safetensors


def export(run: str | Path, *, reporter: Reporter | None = None) -> ExportResult:
    """Write ``model.onnx`` into a run's folder, and ``parity.json``, the certificate.

    The run's model, the exported one, and a server of the exported one over HTTP all predict the validation images.
    Returns onnx (the path), largest_difference (of a probability), agreement (the fraction of equal labels), images
    (how many), and the SHA-256 of both files, model_sha256 and weights_sha256. Raises RunError where a probability
    differs by more than 1e-4 or a label differs, and then leaves neither file; UnderhoodError where onnx is not
    installed or the file cannot be written.
    """
    loaded = load_run(expanduser(run))
    _, images = evaluation_images(loaded, read_config(loaded.path), None, False, True, reporter or Reporter())
    path, part = loaded.path / "model.onnx", loaded.path / ".model.part.onnx"
    try:
        part.unlink(missing_ok=True)  # no link is followed
        write_onnx(loaded, part)
        certificate = _compare(Predictor.load(loaded.path), Predictor.load(part), images.pixels)
        if not (certificate["largest_difference"] <= MAX_DIFFERENCE and certificate["agreement"] == 1):  # NaN included
            for earlier in (path, loaded.path / "parity.json"):
                earlier.unlink(missing_ok=True)
            raise RunError(
                f"the exported model differs from {loaded.path} (a probability by "
                f"{certificate['largest_difference']:.2g}, {certificate['agreement']:.4%} of labels agree): nothing is "
                "written"
            )
        with part.open("rb") as file:
            os.fsync(file.fileno())
        result: ExportResult = {
            "onnx": str(path), **certificate,
            "model_sha256": sha256(part), "weights_sha256": sha256(loaded.path / "weights.safetensors"),
        }  # fmt: skip
        part.replace(path)
        write_json(loaded.path / "parity.json", result)
        return result
    except OSError as error:
        raise UnderhoodError(f"cannot write {path} ({error.strerror}): free some space, or remove it") from None
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _compare(original: Predictor, exported: Predictor, pixels: np.ndarray) -> Certificate:
    """The certificate: how far an exported model's probabilities, also over HTTP, are from the original's."""
    probabilities = original.probabilities(pixels)
    others = [exported.probabilities(pixels), served_probabilities(exported, pixels)]
    same = [probabilities.argmax(axis=1) == other.argmax(axis=1) for other in others]
    return {
        "largest_difference": max(float(np.abs(probabilities - other).max()) for other in others),
        "agreement": float(np.mean(same)),
        "images": len(pixels),
    }
