"""Runs that the first edition wrote (tests/first_edition) still load, predict, serve, report, export and resume."""

import json
import shutil
import urllib.request
from pathlib import Path

import numpy as np
import pytest

import underhood
from underhood.data.named import read_digits
from underhood.jobs.get import write_folder
from underhood.serving.server import served

RUNS = Path(__file__).parent / "first_edition"
LAST = [1.899409008026123, 1.9993650913238525, 0.4]  # train_loss, valid_loss, accuracy


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return Path(shutil.copytree(RUNS / "finished", tmp_path / "finished"))


def test_it_evaluates_to_the_figures_of_then(run: Path) -> None:
    last = (run / "metrics.csv").read_text().splitlines()[-1].split(",")
    assert underhood.evaluate(run)["accuracy"] == float(last[3])


def test_it_predicts(run: Path, tmp_path: Path) -> None:
    digits = read_digits()
    write_folder({"all": digits.take(np.arange(5))}, tmp_path / "new")
    result = underhood.predict(run, tmp_path / "new")
    labels, probabilities = underhood.Predictor.load(run).predict_pixels(digits.pixels[:5])
    assert [row["label"] for row in result["predictions"]] == labels
    assert [row["score"] for row in result["predictions"]] == pytest.approx(probabilities.max(axis=1).tolist())
    assert result["unreadable"] == {}


def test_it_is_reported_and_its_out_of_distribution_images_are_counted(run: Path) -> None:
    page = Path(underhood.report(run)["report"]).read_text()
    assert "Confusion matrix" in page
    assert "Out-of-distribution images" in page
    assert (run / "ood.csv").read_text().startswith("kind,images,rejected\nnoise,120,")


def test_it_is_exported_and_served(run: Path) -> None:
    assert underhood.export(run)["agreement"] == 1
    for model in (run, run / "model.onnx"):
        with served(underhood.Predictor.load(model)) as port:
            answer = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/api/model"))
        assert answer["classes"] == list("0123456789")


def test_it_is_trained_again_to_the_same_metrics(run: Path, tmp_path: Path) -> None:
    result = underhood.rerun(run, out=tmp_path / "again")
    assert result is not None
    before, now = ((folder / "metrics.csv").read_text().splitlines()[-1] for folder in (run, tmp_path / "again"))
    assert [float(value) for value in now.split(",")] == pytest.approx([float(v) for v in before.split(",")], rel=1e-4)


def test_an_interrupted_one_resumes(tmp_path: Path) -> None:
    run = Path(shutil.copytree(RUNS / "interrupted", tmp_path / "run"))
    result = underhood.resume(run)
    assert result is not None
    rows = [line.split(",") for line in (run / "metrics.csv").read_text().splitlines()[1:]]
    assert [row[0] for row in rows] == ["0", "1", "2"]
    # the last row of the same run, never interrupted, in the first edition
    assert [float(value) for value in rows[-1][1:]] == pytest.approx(LAST, rel=1e-4)
