"""``predict``: files, folders and standard input; a table, JSON or CSV; rejected images."""

import csv
import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Outcome
from hypothesis import given, strategies as st
from PIL import Image

from underhood import Predictor, read, train
from underhood.analysis.calibration import MARGIN, reject_threshold

Command = Callable[..., Outcome]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("predict") / "run"
    train("digits", model="conv", epochs=4, out=out, report=False)
    return out


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for i, pixels in enumerate(read("digits").valid.pixels[:12]):
        (tmp_path / "new").mkdir(exist_ok=True)
        Image.fromarray(pixels[0]).save(tmp_path / "new" / f"{i:02}.png")
    return tmp_path / "new"


def test_each_row_has_path_label_score_rejected_and_top(run: Path, images: Path, underhood: Command) -> None:
    result = underhood("predict", run, images, "--json").json["predictions"]
    predictor = Predictor.load(run)
    labels, probabilities = predictor.predict(sorted(images.iterdir()))
    assert [row["label"] for row in result] == labels
    for row, mine in zip(result, probabilities, strict=True):
        assert set(row) == {"path", "label", "score", "set", "rejected", "reason", "top"}
        assert row["score"] == row["top"][0]["score"] == pytest.approx(mine.max())
        assert row["top"][0]["label"] == row["label"]
        assert [one["score"] for one in row["top"]] == pytest.approx(np.sort(mine)[::-1][:5])
        assert row["set"][0] == row["label"]
        assert row["rejected"] == (row["reason"] is not None)
        if mine.max() < predictor.threshold:
            assert row["reason"] in ("distance", "confidence")


def test_as_a_table_and_as_csv(run: Path, images: Path, underhood: Command) -> None:
    Image.new("L", (8, 8)).save(images / "blank.png")
    table = underhood("predict", run, images).out.splitlines()
    assert len(table) == 13
    assert [line.endswith("blank.png  (rejected: blank)") for line in table].count(True) == 1
    rows = list(csv.DictReader(io.StringIO(underhood("predict", run, images, "--csv").out)))
    assert list(rows[0]) == ["path", "label", "score", "rejected", "set", "reason"]
    assert [(row["rejected"], row["reason"]) for row in rows if row["path"].endswith("blank.png")] == [
        ("True", "blank")
    ]


def test_unreadable_files_are_listed_and_the_rest_predicted(run: Path, images: Path, underhood: Command) -> None:
    (images / "bad.png").write_bytes(b"no image")
    result = underhood("predict", run, images, images / "gone.png", "--json")
    assert result.code == 1
    assert len(result.json["predictions"]) == 12
    assert sorted(Path(path).name for path in result.json["unreadable"]) == ["bad.png", "gone.png"]
    assert "bad.png is not an image" in result.err


def test_an_image_may_come_from_standard_input(run: Path, images: Path, underhood: Command) -> None:
    files = sorted(images.iterdir())
    command = [sys.executable, "-m", "underhood", "predict", run, files[0], "-", files[2], "--csv"]
    done = subprocess.run(command, input=files[1].read_bytes(), capture_output=True, check=True)
    rows = list(csv.DictReader(io.StringIO(done.stdout.decode())))
    assert [row["path"] for row in rows] == [str(files[0]), "-", str(files[2])]
    direct = underhood("predict", run, *files[:3], "--json").json["predictions"]
    assert [row["label"] for row in rows] == [row["label"] for row in direct]
    assert float(rows[1]["score"]) == pytest.approx(direct[1]["score"])
    empty = subprocess.run([*command[:5], "-"], input=b"", capture_output=True)
    assert empty.returncode == 1
    assert b"error: - is empty" in empty.stderr


@given(st.lists(st.floats(0.1, 1), min_size=1, max_size=300, unique=True), st.floats(0, 0.99))
def test_the_threshold_rejects_the_requested_fraction(confidences: list[float], reject: float) -> None:
    values, count = np.array(confidences), min(round(reject * len(confidences)), len(confidences) - 1)
    threshold = reject_threshold(values, reject)
    assert (values < threshold).sum() <= count
    assert (values < threshold / (1 - 2 * MARGIN)).sum() >= count  # no more than rounding below the next probability
    assert threshold <= np.sort(values)[count]


def test_reject_is_stored_in_the_run(tmp_path: Path, underhood: Command) -> None:
    result = underhood("train", "--model", "linear", "--epochs", 1, "--reject", 0.2, "--out", "run", "--json").json
    assert result["threshold"] == Predictor.load("run").threshold
    rows = list(csv.DictReader(io.StringIO(Path("run/predictions.csv").read_text())))
    half = [row for row in rows if row["calibrates"] == "1"]  # the limits are theirs: a tenth by probability
    below = sum(float(row["probability"]) < result["threshold"] - 1e-6 for row in half)
    assert below == round(0.1 * 0.2 * len(half))
    far = sum(row["reason"] == "distance" for row in half)
    assert 0.9 * 0.2 * len(half) - 2 < far <= 0.9 * 0.2 * len(half)
    assert "class in its set    " in underhood("train", "--model", "linear", "--epochs", 1, "--out", "two").out
    assert underhood("train", "--reject", 1.5).code == 2
