"""``export``: a run as one ONNX file, with a certificate that it says the same."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from underhood.core.errors import RunError, UnderhoodError
from underhood.jobs.evaluate import pictures_to_measure
from underhood.preparation.paths import expanded
from underhood.runs.folder import load_run, read_config, write_json
from underhood.serving.onnx import load_onnx, write_onnx
from underhood.serving.predictor import Predictor
from underhood.serving.server import served_probabilities
from underhood.training.reporter import Listener

MOST = 1e-4  # by so much a probability may differ


def export(run: str | Path, *, listener: Listener | None = None) -> dict[str, Any]:
    """Write ``model.onnx`` into a run's folder, and ``parity.json``, the certificate.

    Both models, and a server of the exported one, over HTTP, are asked about all validation pictures. Returns onnx (the
    path), largest_difference (of a probability), agreement (the fraction of equal labels), images. Raises RunError, and
    leaves no file, where a probability differs by more than 1e-4 or one label does; UnderhoodError where onnx is not
    installed or the file cannot be written.
    """
    loaded = load_run(expanded(run))
    _, images = pictures_to_measure(loaded, read_config(loaded.path), None, False, True, listener or Listener())
    place, part = loaded.path / "model.onnx", loaded.path / ".model.part.onnx"
    try:
        write_onnx(loaded, part)
        certificate = _compare(Predictor.load(loaded.path), load_onnx(part), images.pixels)
        told = (
            f"a probability by {certificate['largest_difference']:.2g}, {certificate['agreement']:.4%} of labels agree"
        )
        if not (certificate["largest_difference"] <= MOST and certificate["agreement"] == 1):
            for earlier in (place, loaded.path / "parity.json"):
                earlier.unlink(missing_ok=True)
            raise RunError(f"the exported model differs from {loaded.path} ({told}): nothing is written")
        with part.open("rb") as file:
            os.fsync(file.fileno())
        result = {"onnx": str(place), **certificate}
        part.replace(place)
        write_json(loaded.path / "parity.json", result)
        return result
    except OSError as error:
        raise UnderhoodError(f"cannot write {place} ({error.strerror}): make room, or remove it") from None
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _compare(one: Predictor, other: Predictor, pixels: np.ndarray) -> dict[str, Any]:
    probabilities = one.probabilities(pixels)
    answers = [other.probabilities(pixels), served_probabilities(other, pixels)]
    return {
        "largest_difference": max(float(np.abs(probabilities - answer).max()) for answer in answers),
        "agreement": float(np.mean([probabilities.argmax(axis=1) == answer.argmax(axis=1) for answer in answers])),
        "images": len(pixels),
    }
