"""A run as one ONNX file gives the run's predictions, on machines without torch too."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import Outcome, picture

import underhood.jobs.export as exporting
from underhood import Predictor, RunError, UnderhoodError, export, read, train
from underhood.analysis.calibration import Answers
from underhood.runs.calibration import CALIBRATION_FILE, Calibration
from underhood.runs.checkpoint import Run
from underhood.serving.onnx import make_session

Command = Callable[..., Outcome]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("export") / "run"
    train("digits", model="conv", epochs=4, out=out, report=False)
    return out


@pytest.mark.parametrize("model", ["linear", "net", "conv", "vgg", "resnet18"])
def test_each_model_predicts_the_same_in_onnx_runtime(model: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train("digits", model=model, epochs=1, limit=300, out=out, report=False)
    result = export(out)
    keys = {"onnx", "largest_difference", "agreement", "sets_agree", "rejections_agree", "images"}
    assert set(result) == keys | {"model_sha256", "weights_sha256", "calibration_sha256"}
    assert result["model_sha256"] == hashlib.sha256((out / "model.onnx").read_bytes()).hexdigest()
    assert result["weights_sha256"] == hashlib.sha256((out / "weights.safetensors").read_bytes()).hexdigest()
    assert result["calibration_sha256"] == hashlib.sha256((out / CALIBRATION_FILE).read_bytes()).hexdigest()
    assert result["largest_difference"] <= 1e-4
    assert (result["agreement"], result["images"]) == (1.0, 60)
    assert (result["sets_agree"], result["rejections_agree"]) == (1.0, 1.0)
    assert json.loads((out / "parity.json").read_text()) == result
    session = make_session(Path(result["onnx"]))
    (given,), (answer, distance) = session.get_inputs(), session.get_outputs()
    assert (given.type, given.shape[1:], answer.type) == ("tensor(uint8)", [1, 8, 8], "tensor(float)")
    assert [(one.name, len(one.shape)) for one in (answer, distance)] == [("probabilities", 2), ("distances", 1)]
    pixels = read("digits", limit=300).valid.pixels
    outputs = Predictor.load(out).outputs
    assert outputs is not None
    probabilities, distances = outputs(pixels)
    assert distances is not None
    for count in (1, 7, 60):  # the batch is of any length
        theirs, far = session.run(None, {given.name: pixels[:count]})
        assert theirs == pytest.approx(probabilities[:count], abs=1e-4)
        assert far == pytest.approx(distances[:count], abs=1e-5)
    assert len(list(out.glob("*.onnx*"))) == 1
    described = onnx.load(result["onnx"])
    described.graph.ClearField("initializer")  # among millions of random bytes any three are found
    assert b".py" not in described.SerializeToString()  # no path of this machine


def test_colour_images_too(tmp_path: Path) -> None:
    for label in ("a", "b", "c"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for i in range(8):
            picture(10 * ord(label) + i, 40, 30, colour=True).save(tmp_path / "photos" / label / f"{i}.jpg")
    train(tmp_path / "photos", model="conv", epochs=1, out=tmp_path / "run", report=False)
    assert export(tmp_path / "run")["agreement"] == 1
    one, other = (Predictor.load(tmp_path / "run" / name) for name in ("", "model.onnx"))
    assert (one.classes, one.preparation, one.threshold) == (other.classes, other.preparation, other.threshold)
    files = sorted((tmp_path / "photos").rglob("*.jpg"))
    assert one.predict(files)[1] == pytest.approx(other.predict(files)[1], abs=1e-4)


def test_a_corrupted_mean_is_found_and_no_file_is_left(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export(run)
    write = exporting.write_onnx

    def corrupted(loaded: Run, path: Path) -> None:
        write(loaded, path)
        model = onnx.load(path)
        mean = loaded.model[0].mean.numpy()  # type: ignore[index]
        same = [one for one in model.graph.initializer if np.array_equal(onnx.numpy_helper.to_array(one), mean)]
        assert len(same) == 1
        same[0].CopyFrom(onnx.numpy_helper.from_array(mean + 20, same[0].name))
        onnx.save(model, path)

    monkeypatch.setattr(exporting, "write_onnx", corrupted)
    with pytest.raises(RunError, match=r"differs from .* nothing is written"):
        export(run)
    assert not list(run.glob("*onnx*"))
    assert not list(run.glob(".*onnx*"))
    assert not (run / "parity.json").exists()


def said_alike(run: Path, limits: tuple[float, float], far: float, shift: float) -> exporting.Certificate:
    """The certificate where a model's numbers differ by a shift: of two classes, at a distance of 0.5."""
    loaded = Predictor.load(run)
    pixels = read("digits", limit=300).valid.pixels[:3]
    calibration = Calibration(limits=limits, coverage=0.9, distance_limit=far)

    def predictor(by: float) -> Predictor:
        rows = np.tile(np.array([[0.7 - by, 0.3 + by]], np.float32), (3, 1)), np.full(3, 0.5 + by, np.float32)
        return replace(loaded, classes=("a", "b"), probabilities=lambda pixels: rows[0][: len(pixels)],
                       outputs=lambda pixels: (rows[0][: len(pixels)], rows[1][: len(pixels)]),
                       calibration=calibration)  # fmt: skip

    return exporting._compare(predictor(0), predictor(shift), pixels)


def test_a_number_at_its_limit_is_no_difference_and_one_beyond_it_is(run: Path) -> None:
    for shift in (2e-6, -2e-6):
        at_limit = said_alike(run, (0.1, 0.3 + shift / 2), 0.5 + shift / 2, shift)
        assert (at_limit["agreement"], at_limit["sets_agree"], at_limit["rejections_agree"]) == (1, 1, 1)
    beyond = said_alike(run, (0.1, 0.3005), 0.5005, 0.001)
    assert (beyond["agreement"], beyond["sets_agree"], beyond["rejections_agree"]) == (1, 0, 0)


def test_two_labels_that_tie_are_no_difference_and_any_other_label_is() -> None:
    def said(*rows: list[float]) -> Answers:
        return Answers(np.array(rows, np.float32), None, [""] * len(rows))

    tied = said([0.45, 0.45 - 2e-6, 0.1], [0.8, 0.1, 0.1])
    assert exporting._same_labels(tied, said([0.45 - 2e-6, 0.45, 0.1], [0.8, 0.1, 0.1])).tolist() == [True, True]
    assert exporting._same_labels(tied, said([0.2, 0.2, 0.6], [0.1, 0.8, 0.1])).tolist() == [False, False]


def test_an_export_that_fails_keeps_the_certified_file_before_it(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = Path(export(run)["onnx"]).read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(exporting, "write_onnx", full)
    with pytest.raises(UnderhoodError, match="free some space"):
        export(run)
    assert (run / "model.onnx").read_bytes() == before
    assert (run / "parity.json").exists()


def test_predict_and_its_imports_need_no_torch(run: Path, tmp_path: Path, underhood: Command) -> None:
    export(run)
    picture(3, 20, 20).save(tmp_path / "drawn.png")
    program = (
        "import sys; sys.modules.update(dict.fromkeys(['torch', 'sklearn', 'matplotlib', 'safetensors', 'onnx']));"
        f"sys.argv = ['underhood', 'predict', {str(run / 'model.onnx')!r}, {str(tmp_path / 'drawn.png')!r}, '--json'];"
        "from underhood.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["predictions"]
    (same,) = underhood("predict", run, tmp_path / "drawn.png", "--json").json["predictions"]
    assert [row[key] for key in ("label", "set", "rejected", "reason")] == [
        same[key] for key in ("label", "set", "rejected", "reason")
    ]
    assert row["score"] == pytest.approx(same["score"], abs=1e-4)


def test_a_file_that_is_no_exported_model_is_one_line(run: Path, tmp_path: Path, underhood: Command) -> None:
    (tmp_path / "text.onnx").write_text("not a model")
    (tmp_path / "empty.onnx").write_bytes(b"")
    export(run)
    foreign = onnx.load(run / "model.onnx")
    del foreign.metadata_props[:]
    onnx.save(foreign, tmp_path / "foreign.onnx")
    newer = onnx.load(run / "model.onnx")
    header = json.loads(newer.metadata_props[0].value) | {"format": 99}
    onnx.helper.set_model_props(newer, {"underhood": json.dumps(header)})
    onnx.save(newer, tmp_path / "newer.onnx")
    for name in ("text", "empty", "foreign", "newer", "missing"):
        failed = underhood("predict", tmp_path / f"{name}.onnx", tmp_path)
        assert failed.code == 1
        assert failed.err.startswith("error: ")
        assert failed.err.count("\n") == 1
        assert f"{name}.onnx" in failed.err
    assert underhood("export", tmp_path / "nothing").code == 1
