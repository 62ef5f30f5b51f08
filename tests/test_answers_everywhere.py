"""Labels, sets and rejections are the same in torch, ONNX, HTTP and CSV; damaged calibrations are refused."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from conftest import Outcome
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from underhood import Predictor, RunError, evaluate, export, predict, read, train
from underhood.core.images import Images
from underhood.jobs.serve import _load
from underhood.runs.calibration import CALIBRATION_FILE
from underhood.runs.checkpoint import load_run
from underhood.serving.server import served_answers
from underhood.training import Reporter

Command = Callable[..., Outcome]
Row = tuple[str, list[str] | None, bool, str | None]  # label, set, rejected, reason
WITHOUT_TORCH = """
import json, sys
sys.modules.update(dict.fromkeys(["torch", "sklearn", "scipy", "matplotlib", "safetensors", "onnx"]))
from underhood.jobs.predict import predict
keys = "label", "set", "rejected", "reason"
print(json.dumps([[row[key] for key in keys] for row in predict(sys.argv[1], sys.argv[2])["predictions"]]))
"""


def rows_of(predictor: Predictor, said: Any) -> list[Row]:
    """Answers as label, set, rejected, reason."""
    rows: list[Row] = []
    for i, probabilities in enumerate(said.probabilities):
        order = np.argsort(-probabilities, kind="stable").tolist()
        labels = None if said.sets is None else [predictor.classes[k] for k in order if said.sets[i, k]]
        rows.append((predictor.classes[order[0]], labels, said.reasons[i] != "", said.reasons[i] or None))
    return rows


def colour_folder(place: Path) -> Path:
    """Three classes of 40 colour images of 36 × 36 pixels: a disc, a bar and a cross on noise."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:36, :36]
    for number in range(120):
        a, b = rng.integers(10, 26, 2)
        name, inside = [
            ("disc", (y - a) ** 2 + (x - b) ** 2 < 49), ("bar", abs(y - a) < 4),
            ("cross", (abs(y - a) < 3) | (abs(x - b) < 3)),
        ][number % 3]  # fmt: skip
        pixels = rng.integers(0, 120, (36, 36, 3))
        pixels[inside] += rng.integers(60, 130, 3)
        (place / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(place / name / f"{number}.png")
    return place


Trained = tuple[Path, Images]  # an exported run, its validation images


@pytest.fixture(scope="module", params=["net", "conv", "mirrored"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    place = tmp_path_factory.mktemp("answers")
    options: dict[str, Any] = {"epochs": 2, "reject": 0.1, "out": place / "run", "report": False}
    if request.param == "mirrored":
        data = str(colour_folder(place / "shapes"))
        train(data, model="conv", effort="best", flip=True, size=32, **options)
        images = read(data, size=32).valid
    else:
        train("digits", model=request.param, **options)
        images = read("digits").valid
    result = export(place / "run")
    assert (result["agreement"], result["sets_agree"], result["rejections_agree"]) == (1.0, 1.0, 1.0)
    assert result["images"] == len(images.labels)
    assert load_run(place / "run").architecture.mirrored == (request.param == "mirrored")
    return place / "run", images


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("kept") / "run"
    train("digits", model="net", epochs=1, limit=400, reject=0.05, out=out, report=False)
    export(out)
    return out


@pytest.fixture
def copied(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "run"))


def test_every_way_says_the_same_of_every_validation_image(
    trained: Trained, tmp_path: Path, underhood: Command
) -> None:
    run, images = trained
    predictor, exported = Predictor.load(run), Predictor.load(run / "model.onnx")
    others = np.random.default_rng(0).integers(0, 256, (3, *images.pixels.shape[1:]), dtype=np.uint8)
    every = np.concatenate([images.pixels, others, np.full_like(others[:1], 30)])
    said = rows_of(predictor, predictor.answers(every))
    assert {row[3] for row in said} >= {None, "blank"} | ({"distance"} if len(images.labels) > 100 else set())
    assert rows_of(exported, exported.answers(every)) == said
    singly = [exported.answers(one[None]) for one in every]  # a server's batches are of any length
    assert [row for one in singly for row in rows_of(exported, one)] == said
    for one in (predictor, exported):
        assert rows_of(one, served_answers(one, every)) == said
    for number, pixels in enumerate(every):  # prepared pixels as files: preparing them again changes some
        image = np.squeeze(pixels.transpose(1, 2, 0))
        (tmp_path / "files").mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / "files" / f"{number:04}.png")
    direct = [tuple(row[key] for key in ("label", "set", "rejected", "reason"))
              for row in predict(run, tmp_path / "files")["predictions"]]  # type: ignore[literal-required]  # fmt: skip
    command = [sys.executable, "-c", WITHOUT_TORCH, str(run / "model.onnx"), str(tmp_path / "files")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert [tuple(row) for row in json.loads(done.stdout)] == direct
    for place in (run, run / "model.onnx"):
        table = csv.DictReader(io.StringIO(underhood("predict", place, tmp_path / "files", "--csv").out))
        assert [
            (row["label"], row["set"].split("|"), row["rejected"] == "True", row["reason"] or None) for row in table
        ] == direct


def test_predictions_csv_and_evaluate_say_it_too(trained: Trained) -> None:
    run, images = trained
    predictor = Predictor.load(run)
    said = rows_of(predictor, predictor.answers(images.pixels))
    table = list(csv.DictReader(io.StringIO((run / "predictions.csv").read_text())))
    assert [
        (row["predicted"], row["set"].split("|"), row["rejected"] == "1", row["reason"] or None) for row in table
    ] == said
    assert evaluate(run)["accuracy"] == np.mean([row[0] == name for row, name in zip(
        said, (images.classes[i] for i in images.labels), strict=True)])  # fmt: skip


def test_an_older_run_without_a_calibration_has_no_sets_and_no_distances(copied: Path, underhood: Command) -> None:
    (copied / CALIBRATION_FILE).unlink()
    predictor, images = Predictor.load(copied), read("digits", limit=400).valid
    said = predictor.answers(images.pixels)
    assert said.sets is None
    improbable = said.probabilities.max(axis=1) < predictor.threshold
    assert said.reasons == ["confidence" if one else "" for one in improbable.tolist()]
    assert predictor.answers(np.zeros_like(images.pixels[:1])).reasons == ["blank"]
    result = export(copied)
    assert (result["sets_agree"], result["rejections_agree"]) == (1.0, 1.0)
    assert result["calibration_sha256"] is None
    assert "load_onnx" in _load(copied, Reporter()).probabilities.__qualname__
    model = onnx.load(copied / "model.onnx")
    header = json.loads(model.metadata_props[0].value)
    assert ([one.name for one in model.graph.output], header["format"]) == (["probabilities"], 1)
    assert "calibration" not in header
    exported = Predictor.load(copied / "model.onnx")
    for one in (exported.answers(images.pixels), served_answers(exported, images.pixels)):
        assert one.sets is None
        assert one.reasons == said.reasons


def test_serve_refuses_a_model_of_another_calibration(copied: Path) -> None:
    path, parity = copied / CALIBRATION_FILE, copied / "parity.json"
    assert "load_onnx" in _load(copied, Reporter()).probabilities.__qualname__
    with safe_open(path, "numpy") as file:
        header = json.loads(file.metadata()["underhood"])
    before, other = path.read_bytes(), json.dumps(header | {"temperature": header["temperature"] * 2})
    save_file(load_file(path), path, {"underhood": other})
    refusal = rf"model\.onnx was exported with another calibration: underhood export {copied}, or remove model\.onnx"
    with pytest.raises(RunError, match=refusal):
        _load(copied, Reporter())
    path.unlink()
    with pytest.raises(RunError, match=refusal):
        _load(copied, Reporter())
    path.write_bytes(before)
    certificate = json.loads(parity.read_text())
    parity.write_text(json.dumps(certificate | {"calibration_sha256": None}))
    with pytest.raises(RunError, match=refusal):
        _load(copied, Reporter())
    del certificate["calibration_sha256"]  # written by an earlier version
    parity.write_text(json.dumps(certificate))
    assert "load_onnx" in _load(copied, Reporter()).probabilities.__qualname__


CHANGES: list[dict[str, Any]] = [
    {"temperature": float("nan")}, {"temperature": -1}, {"temperature": 0}, {"temperature": "1"},
    {"temperature": None}, {"temperature": 10**400}, {"limits": [0.5]}, {"limits": [0.5] * 11},
    {"limits": [0.5] * 10**6}, {"limits": [-0.1] * 10}, {"limits": [float("nan")] * 10}, {"limits": {"0": 1}},
    {"limits": None}, {"coverage": -0.5}, {"coverage": True}, {"distance_limit": -3},
    {"distance_limit": float("nan")}, {"distance_limit": [0.5]},
]  # fmt: skip


@pytest.mark.parametrize("changes", CHANGES, ids=lambda changes: str(changes)[:40])
def test_a_calibration_that_lies_is_one_line_in_a_run_and_in_onnx(
    changes: dict[str, Any], copied: Path, underhood: Command
) -> None:
    path = copied / CALIBRATION_FILE
    with safe_open(path, "numpy") as file:
        header = json.loads(file.metadata()["underhood"])
    save_file(load_file(path), path, {"underhood": json.dumps(header | changes)})
    with pytest.raises(RunError, match=r"calibration\.safetensors is damaged \(.*\): train again") as error:
        Predictor.load(copied)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 1000
    model = onnx.load(copied / "model.onnx")
    record = json.loads(model.metadata_props[0].value)
    record["calibration"] |= changes
    model.metadata_props[0].value = json.dumps(record)
    onnx.save(model, copied / "model.onnx")
    with pytest.raises(RunError, match=r"model\.onnx was not written by underhood export, or is damaged") as error:
        Predictor.load(copied / "model.onnx")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 1000


def damaged_arrays(features: int) -> dict[str, dict[str, np.ndarray]]:
    def ones(*shape: int) -> np.ndarray:
        return np.ones(shape, np.float32)

    return {
        "other features": {"projection": ones(features + 1, 4), "prototypes": ones(5, 4)},
        "other ranks": {"projection": ones(features, 4), "prototypes": ones(5, 3)},
        "one array": {"projection": ones(features, 4)},
        "no prototypes": {"projection": ones(features, 4), "prototypes": ones(0, 4)},
        "vectors": {"projection": ones(features), "prototypes": ones(5)},
        "NaN": {"projection": ones(features, 4) * np.nan, "prototypes": ones(5, 4)},
        "float64": {"projection": np.ones((features, 4)), "prototypes": ones(5, 4)},
        "a third": {"projection": ones(features, 4), "prototypes": ones(5, 4), "more": ones(9)},
    }


@pytest.mark.parametrize("what", damaged_arrays(1))
def test_arrays_that_do_not_fit_the_network_are_one_line(what: str, copied: Path, underhood: Command) -> None:
    path = copied / CALIBRATION_FILE
    with safe_open(path, "numpy") as file:
        metadata = file.metadata()
    save_file(damaged_arrays(30)[what], path, metadata)
    Image.new("L", (8, 8)).save(copied / "a.png")
    failed = underhood("predict", copied, copied / "a.png")
    assert (failed.code, failed.out) == (1, "")
    assert f"{path} is damaged" in failed.err
    assert failed.err.count("\n") == 1


def test_a_file_cut_short_or_in_a_newer_format_is_one_line(copied: Path) -> None:
    path = copied / CALIBRATION_FILE
    content = path.read_bytes()
    for damaged in (b"", content[:5], content[: len(content) // 2], b"\xff" * 100):
        path.write_bytes(damaged)
        with pytest.raises(RunError, match=r"calibration\.safetensors") as error:
            Predictor.load(copied)
        assert "\n" not in str(error.value)
    path.write_bytes(content)
    with safe_open(path, "numpy") as file:
        header = json.loads(file.metadata()["underhood"])
    save_file(load_file(path), path, {"underhood": json.dumps(header | {"format": 99})})
    with pytest.raises(RunError, match="has format 99"):
        Predictor.load(copied)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes")
@pytest.mark.parametrize("what", ["pipe", "folder", "broken link"])
def test_a_calibration_that_is_no_regular_file_is_never_waited_for(what: str, copied: Path) -> None:
    path = copied / CALIBRATION_FILE
    path.unlink()
    if what == "broken link":
        path.symlink_to("missing")
    else:
        {"pipe": os.mkfifo, "folder": os.mkdir}[what](path)
    program = "import sys; from pathlib import Path; from underhood.runs.checkpoint import load_run as read; "
    program += "read(Path(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", program, str(copied)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert f"{path} is no regular file: restore it, or train again" in done.stderr
