"""``export``: a run as one ONNX file, with a certificate that both give the same predictions."""

import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TypedDict

import numpy as np

from underhood.analysis.calibration import Answers
from underhood.core.errors import RunError, UnderhoodError
from underhood.explorer.answers import NUMBERS, Expected, same_reasons, same_sets
from underhood.jobs.evaluate import evaluation_images
from underhood.preparation.files import expanduser
from underhood.runs import sha256, write_json
from underhood.runs.calibration import Calibration, calibration_sha256
from underhood.runs.checkpoint import load_run
from underhood.runs.folder import read_config
from underhood.serving import Predictor
from underhood.serving.onnx import write_onnx
from underhood.serving.server import served_answers
from underhood.training import Reporter

MAX_DIFFERENCE = 1e-4  # of a probability


class Certificate(TypedDict):
    """How an exported model compares with its run on the validation images."""

    largest_difference: float  # of a probability
    agreement: float  # fraction of equal labels. Where the two best are within 1e-4, both count
    sets_agree: float  # fraction of equal prediction sets; 1 without sets. Where a number is at its limit, both count
    rejections_agree: float  # fraction of images that are rejected for the same reason, or not rejected; likewise
    images: int


class ExportResult(Certificate):
    """What ``export`` returns, and writes to ``parity.json``."""

    onnx: str  # path
    model_sha256: str  # of model.onnx: the certificate is for this file
    weights_sha256: str  # of weights.safetensors
    calibration_sha256: str | None  # of calibration.safetensors; None where the run has none


def export(run: str | Path, *, reporter: Reporter | None = None) -> ExportResult:
    """Write ``model.onnx`` into a run's folder, and ``parity.json``, the certificate.

    The run's model, the exported one, and a server of the exported one over HTTP all predict the validation images.
    Returns onnx (the path), largest_difference (of a probability), the fractions of images that agree: agreement (in
    the label), sets_agree (in the prediction set), rejections_agree (in whether and why they are rejected), images (how
    many), and the SHA-256 of the files: model_sha256, weights_sha256, calibration_sha256 (None without a calibration).
    Where a number is at its limit, sets and rejections agree either way, and so do labels where the two most probable
    are within 1e-4. Raises RunError where a probability differs by more than 1e-4 or one of the fractions is below 1,
    and then leaves neither file; UnderhoodError where onnx is not installed or the file cannot be written.
    """
    loaded = load_run(expanduser(run))
    _, images, _ = evaluation_images(loaded, read_config(loaded.path), None, False, True, reporter or Reporter())
    path, part = loaded.path / "model.onnx", loaded.path / ".model.part.onnx"
    try:
        part.unlink(missing_ok=True)  # no link is followed
        write_onnx(loaded, part)
        certificate = _compare(Predictor.load(loaded.path), Predictor.load(part), images.pixels)
        least = min(certificate["agreement"], certificate["sets_agree"], certificate["rejections_agree"])
        if not (certificate["largest_difference"] <= MAX_DIFFERENCE and least == 1):  # NaN included
            for earlier in (path, loaded.path / "parity.json"):
                earlier.unlink(missing_ok=True)
            raise RunError(
                f"the exported model differs from {loaded.path} (a probability by "
                f"{certificate['largest_difference']:.2g}; {certificate['agreement']:.4%} of labels agree, "
                f"{certificate['sets_agree']:.4%} of sets, {certificate['rejections_agree']:.4%} of rejections): "
                "nothing is written"
            )
        with part.open("rb") as file:
            os.fsync(file.fileno())
        result: ExportResult = {
            "onnx": str(path), **certificate,
            "model_sha256": sha256(part), "weights_sha256": sha256(loaded.path / "weights.safetensors"),
            "calibration_sha256": calibration_sha256(loaded.path),
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
    """The certificate: how far an exported model's answers, also over HTTP, are from the original's.

    Where a probability or a distance is at its limit, or two probabilities tie, rounding decides: both answers count.
    """
    outputs = original.outputs(pixels) if original.outputs else (original.probabilities(pixels), None)
    said = replace(original, outputs=lambda _: outputs).answers(pixels)  # computed once
    expected = Expected(original.calibration or Calibration(threshold=original.threshold), pixels, said, outputs[1])
    others = [exported.answers(pixels), served_answers(exported, pixels)]
    return {
        "largest_difference": max(float(np.abs(said.probabilities - one.probabilities).max()) for one in others),
        "agreement": float(np.mean([_same_labels(said, one) for one in others])),
        "sets_agree": float(np.mean([_same_sets(expected, one) for one in others])),
        "rejections_agree": float(np.mean([_same_reasons(expected, one) for one in others])),
        "images": len(pixels),
    }


def _near(said: Answers) -> np.ndarray:
    """The labels that rounding could make the most probable one, which is among them: bool [n, classes]."""
    return said.probabilities >= said.probabilities.max(axis=1, keepdims=True) - MAX_DIFFERENCE


def _same_labels(said: Answers, other: Answers) -> np.ndarray:
    """Whether each image has the same label in both, or one as probable: bool [n]."""
    return np.take_along_axis(_near(said), other.probabilities.argmax(axis=1)[:, None], axis=1)[:, 0]


def _same_sets(expected: Expected, other: Answers) -> np.ndarray:
    """Whether each image has the same prediction set in both: bool [n]. Where there are no sets, they are the same."""
    if expected.said.sets is None or other.sets is None:
        return np.full(len(other.reasons), expected.said.sets is other.sets)
    near = _near(expected.said)
    return same_sets(other.sets, expected, near & (near.sum(axis=1, keepdims=True) > 1))


def _same_reasons(expected: Expected, other: Answers) -> np.ndarray:
    return same_reasons(np.array([NUMBERS[reason] for reason in other.reasons]), expected)
