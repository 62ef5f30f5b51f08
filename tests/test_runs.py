"""The run folder: whole files, no pickle, equal runs in equal bytes; and every way a folder can be wrong."""

import csv
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import fill
from hypothesis import given, strategies as st
from safetensors.torch import load_file, save_file

from underhood import Predictor, RunError, evaluate, predict, train
from underhood.analysis import fixed_and_broken, per_class, wilson_interval
from underhood.core.errors import DataError
from underhood.runs import atomic_write
from underhood.runs.checkpoint import FORMAT, load_run

FILES = [
    "calibration.safetensors",
    "config.json",
    "data.json",
    "environment.json",
    "ideals.npy",
    "layers.csv",
    "learning_curve.csv",
    "log.txt",
    "metrics.csv",
    "ood.csv",
    "pictures.csv",
    "predictions.csv",
    "report.html",
    "snapshots.safetensors",
    "state.safetensors",
    "steps.csv",
    "weights.safetensors",
]


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "one"
    train("digits", model="net", epochs=3, out=out)
    return out


def test_a_run_folder_holds_what_the_design_says(run: Path) -> None:
    assert sorted(path.name for path in run.iterdir()) == FILES
    rows = table(run / "metrics.csv")
    assert list(rows[0]) == ["epoch", "train_loss", "valid_loss", "accuracy"]
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    config = json.loads((run / "config.json").read_text())
    assert (config["data"], config["model"], config["epochs"], config["seed"]) == ("digits", "net", 3, 0)
    data = json.loads((run / "data.json").read_text())
    assert sum(data["counts"]["valid"].values()) == 359
    assert len(data["sha256"]["train"]) == 64
    assert json.loads((run / "environment.json").read_text())["torch"] == torch.__version__


def test_predictions_are_those_of_the_model_and_give_the_accuracy(run: Path) -> None:
    rows = table(run / "predictions.csv")
    assert list(rows[0])[:5] == ["path", "label", "predicted", "probability", "loss"]
    assert list(rows[0])[5:7] == ["uncalibrated_probability", "uncalibrated_loss"]
    assert list(rows[0])[7:] == ["calibrates", "set", "rejected", "reason"]
    assert len(rows) == 359
    right = np.mean([row["label"] == row["predicted"] for row in rows])
    assert right == evaluate(run)["accuracy"]
    for row in rows[:50]:
        assert row["path"].startswith(row["label"] + "/")
        if row["label"] == row["predicted"]:
            assert float(row["loss"]) == pytest.approx(-np.log(float(row["probability"])), abs=1e-4)


def test_equal_runs_write_equal_bytes_and_another_seed_others(run: Path, tmp_path: Path) -> None:
    train("digits", model="net", epochs=3, out=tmp_path / "again")
    for name in ("weights.safetensors", "metrics.csv", "predictions.csv", "data.json"):
        assert (run / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name
    train("digits", model="net", epochs=3, seed=1, out=tmp_path / "other")
    assert (run / "weights.safetensors").read_bytes() != (tmp_path / "other/weights.safetensors").read_bytes()


def test_training_leaves_torchs_random_state_alone(tmp_path: Path) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    train("digits", model="conv", epochs=1, limit=100, out=tmp_path / "run")
    assert torch.equal(torch.rand(3), expected)


def test_the_weights_have_one_metadata_key_without_dates(run: Path) -> None:
    from safetensors import safe_open

    with safe_open(run / "weights.safetensors", "pt") as file:
        metadata = file.metadata()
    assert list(metadata) == ["underhood"]
    header = json.loads(metadata["underhood"])
    assert metadata["underhood"] == json.dumps(header, sort_keys=True)
    assert set(header) == {"architecture", "classes", "format", "preparation", "threshold"}
    assert header["classes"] == list("0123456789")


def test_a_loaded_run_predicts_what_the_trained_model_did(run: Path) -> None:
    from underhood.data.read import read

    rows = table(run / "predictions.csv")
    labels, probabilities = Predictor.load(run).predict_pixels(read("digits").valid.pixels)
    assert labels == [row["predicted"] for row in rows]
    assert np.allclose(probabilities.max(axis=1), [float(row["probability"]) for row in rows], atol=1e-6)
    assert probabilities.sum(axis=1) == pytest.approx(1, abs=1e-5)


def edit_metadata(run: Path, to: Path, **changes: object) -> Path:
    from safetensors import safe_open

    to.mkdir()
    with safe_open(run / "weights.safetensors", "pt") as file:
        header = json.loads(file.metadata()["underhood"]) | changes
    tensors = load_file(run / "weights.safetensors")
    save_file(tensors, to / "weights.safetensors", {"underhood": json.dumps(header)})
    return to


def test_a_newer_format_is_a_clear_error(run: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=rf"has format {FORMAT + 1}.*pip install -U underhood-vision"):
        load_run(edit_metadata(run, tmp_path / "newer", format=FORMAT + 1))


@pytest.mark.parametrize(
    "changes",
    [
        {"classes": ["a", "b"]},
        {"classes": 10},
        {"preparation": {"channels": 1}},
        {"preparation": {"channels": 1, "height": 8, "width": 8, "fit": "twist"}},
        {"architecture": {"model": "conv", "channels": 1, "height": 8, "width": 8, "classes": 10}},
        {"architecture": {"model": "net", "channels": 1, "height": 9, "width": 8, "classes": 10}},
        {"architecture": {"model": "net", "channels": 1, "height": "x", "width": 8, "classes": 10}},
        {"architecture": {"model": "nett", "channels": 1, "height": 8, "width": 8, "classes": 10}},
        {"architecture": None},
        {"format": "one"},
    ],
)
def test_metadata_that_does_not_fit_the_weights_is_a_clear_error(
    changes: dict[str, object], run: Path, tmp_path: Path
) -> None:
    with pytest.raises(RunError, match=r"weights\.safetensors") as error:
        load_run(edit_metadata(run, tmp_path / "odd", **changes))
    assert "\n" not in str(error.value)


def test_a_folder_that_is_no_run_is_a_clear_error(run: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there is no such folder"):
        load_run(tmp_path / "gone")
    with pytest.raises(RunError, match=r"it has no weights\.safetensors"):
        load_run(tmp_path)
    (tmp_path / "weights.safetensors").write_bytes((run / "weights.safetensors").read_bytes()[:-9])
    with pytest.raises(RunError, match="is damaged"):
        load_run(tmp_path)
    save_file({"x": torch.zeros(1)}, tmp_path / "weights.safetensors")
    with pytest.raises(RunError, match="was not written by underhood"):
        load_run(tmp_path)


def test_a_folder_that_holds_anything_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "keep.txt").write_text("mine")
    with pytest.raises(RunError, match="is not empty"):
        train("no such data", out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["keep.txt"]


def test_runs_are_numbered_onwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for number in (1, 2):
        assert train("digits", model="linear", epochs=1, limit=50)["run"] == f"runs/digits-linear-{number}"
    (tmp_path / "runs/digits-linear-9").mkdir()
    assert train("digits", model="linear", epochs=1, limit=50)["run"] == "runs/digits-linear-10"


def test_a_full_disk_leaves_what_was_there_and_says_so(tmp_path: Path) -> None:
    """The kernel refuses to write past a limit on file size, as it does on a full disk."""
    (tmp_path / "weights").write_bytes(b"earlier")
    script = """
import resource, signal, sys
from pathlib import Path
from underhood.core.errors import RunError
from underhood.runs import atomic_write
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    atomic_write(Path(sys.argv[1]), bytes(5000))
except RunError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "weights"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(f"cannot write {tmp_path / 'weights'} (File too large): free some space")
    assert (tmp_path / "weights").read_bytes() == b"earlier"
    assert [path.name for path in tmp_path.iterdir()] == ["weights"]


def test_writing_replaces_the_whole_file(tmp_path: Path) -> None:
    atomic_write(tmp_path / "f", b"long content")
    atomic_write(tmp_path / "f", b"short")
    assert (tmp_path / "f").read_bytes() == b"short"


def test_from_starts_with_another_runs_weights(run: Path, tmp_path: Path) -> None:
    longer = train("digits", from_run=run, epochs=1, lr=1e-6, out=tmp_path / "more")
    assert longer["model"] == "net"
    assert longer["valid_accuracy"] == pytest.approx(evaluate(run)["accuracy"], abs=0.01)
    with pytest.raises(RunError, match="is net for 8 × 8 grey: omit --model"):
        train("digits", from_run=run, model="conv", out=tmp_path / "no")
    assert not (tmp_path / "no").exists()


def test_from_with_other_classes_gets_a_new_last_layer(run: Path, small_folder: Path, tmp_path: Path) -> None:
    result = train(small_folder, from_run=run, fit="pad", epochs=30, out=tmp_path / "more")
    assert result["valid_accuracy"] == 1
    new, old = load_run(tmp_path / "more"), load_run(run)
    assert new.preparation == replace(old.preparation, fit="pad")
    assert new.classes == ("dark", "light")
    assert torch.equal(new.model[0].mean, old.model[0].mean)


def test_evaluate_matches_classes_by_name(run: Path, tmp_path: Path) -> None:
    from underhood.data.named import read_digits
    from underhood.jobs.get import write_folder

    digits = read_digits()
    some = digits.take(np.flatnonzero(np.isin(digits.labels, (3, 7, 9)))[:90])
    write_folder({"all": some}, tmp_path / "D")
    result = evaluate(run, tmp_path / "D")
    assert result["images"] == 90
    assert set(result["per_class"]) == {"3", "7", "9"}
    assert result["part"] == "all"
    predicted, _ = Predictor.load(run).predict_pixels(some.pixels)
    assert result["accuracy"] == np.mean([p == digits.classes[c] for p, c in zip(predicted, some.labels, strict=True)])
    assert sum(row["correct"] for row in result["per_class"].values()) == round(result["accuracy"] * 90)
    (tmp_path / "D/3").rename(tmp_path / "D/three")
    with pytest.raises(DataError, match=r"class 'three' is unknown to .*, which knows 0, 1"):
        evaluate(run, tmp_path / "D")


def test_predict_takes_files_and_folders_and_lists_bad_ones(run: Path, tmp_path: Path) -> None:
    fill(tmp_path, {"a/1.png": 1, "a/b/2.png": 2, "3.png": 3})
    (tmp_path / "a/bad.png").write_text("x")
    result = predict(run, [tmp_path / "3.png", tmp_path / "a", tmp_path / "gone.png"])
    assert [Path(row["path"]).name for row in result["predictions"]] == ["3.png", "1.png", "2.png"]
    assert all(row["label"] in "0123456789" and 0 < row["score"] <= 1 for row in result["predictions"])
    assert [Path(path).name for path in result["unreadable"]] == ["bad.png", "gone.png"]


@given(st.integers(0, 1000), st.integers(1, 1000))
def test_wilsons_interval_is_scipys(correct: int, total: int) -> None:
    from scipy.stats import binomtest

    correct = min(correct, total)
    theirs = binomtest(correct, total).proportion_ci(method="wilson")
    assert wilson_interval(correct, total) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_fixed_minus_broken_is_the_difference() -> None:
    before, after = np.array([1, 1, 0, 0, 0], bool), np.array([1, 0, 1, 1, 0], bool)
    assert fixed_and_broken(before, after) == (2, 1)
    rows = per_class(np.array([0, 0, 2]), np.array([0, 1, 2]), ("a", "b", "c"))
    assert rows == {
        "a": {"images": 2, "correct": 1, "accuracy": 0.5},
        "c": {"images": 1, "correct": 1, "accuracy": 1.0},
    }
