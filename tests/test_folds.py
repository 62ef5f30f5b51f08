"""`--folds`: cross-validated accuracy, with an interval that respects groups."""

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from PIL import Image

from underhood import ladder, rerun, resume, train
from underhood.analysis import accuracy_interval, wilson_interval
from underhood.core.images import Images
from underhood.data.parts import Parts, ReadOptions, read_parts
from underhood.jobs import check
from underhood.training import Reporter, folds as module
from underhood.training.config import TrainConfig
from underhood.training.folds import folds_section, read_folds

QUICK: dict[str, Any] = {"model": "linear", "epochs": 2, "report": False, "snapshots": False}


@pytest.fixture
def patients(tmp_path: Path) -> Path:
    """Twelve patients with six images each, in two classes."""
    for n in range(72):
        label = "ill" if n // 6 % 2 else "healthy"
        low = 60 if label == "ill" else 0
        path = tmp_path / "patients" / label / f"p{n // 6:02}_{n % 6}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(n).integers(low, low + 190, (12, 12), dtype=np.uint8)).save(path)
    return tmp_path / "patients"


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_every_training_image_is_tested_once_and_groups_are_in_one_fold(patients: Path, tmp_path: Path) -> None:
    result: Any = train(patients, out=tmp_path / "run", folds=4, group_by=r"p(\d+)_", **QUICK)
    found = result["folds"]
    rows = rows_of(tmp_path / "run" / "fold_predictions.csv")
    validated = {row["path"] for row in rows_of(tmp_path / "run" / "predictions.csv")}
    assert len({row["path"] for row in rows}) == len(rows) == 72 - len(validated)
    assert not validated & {row["path"] for row in rows}
    folds_of: dict[str, set[str]] = {}
    for row in rows:
        folds_of.setdefault(row["path"].split("_")[0], set()).add(row["fold"])
    assert all(len(folds) == 1 for folds in folds_of.values())
    assert found["count"] == len(found["accuracies"]) == 4
    assert found["groups"] == len(folds_of)
    assert found["accuracy"] == np.mean([row["label"] == row["predicted"] for row in rows])
    assert found["interval"][0] < found["accuracy"] <= found["interval"][1]
    lines = rows_of(tmp_path / "run" / "folds.csv")
    assert [list(line) for line in lines] == [["fold", "images", "accuracy"]] * 4
    assert sum(int(line["images"]) for line in lines) == len(rows)


def test_the_final_model_is_the_same_as_without_folds(patients: Path, tmp_path: Path) -> None:
    for name, folds in (("with", 3), ("without", None)):
        train(patients, out=tmp_path / name, folds=folds, **QUICK)
    for file in ("weights.safetensors", "metrics.csv", "predictions.csv"):
        assert (tmp_path / "with" / file).read_bytes() == (tmp_path / "without" / file).read_bytes()
    assert not (tmp_path / "without" / "folds.csv").exists()


def test_a_run_that_is_killed_in_a_fold_resumes_to_the_same_bytes(
    patients: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(patients, out=tmp_path / "whole", folds=4, **QUICK)
    predict, trained = module._predict_fold, []

    def killed_in_the_third(*arguments: Any) -> Any:
        trained.append(arguments[3])
        if len(trained) == 3:
            raise KeyboardInterrupt
        return predict(*arguments)

    monkeypatch.setattr(module, "_predict_fold", killed_in_the_third)
    with pytest.raises(KeyboardInterrupt):
        train(patients, out=tmp_path / "killed", folds=4, **QUICK)
    assert len(rows_of(tmp_path / "killed" / "folds.csv")) == 2
    result: Any = resume(tmp_path / "killed")
    assert trained == [0, 1, 2, 2, 3]
    assert result["folds"]["count"] == 4
    for file in ("folds.csv", "fold_predictions.csv", "weights.safetensors", "metrics.csv", "predictions.csv"):
        assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "killed" / file).read_bytes()


def test_rerun_repeats_the_folds(patients: Path, tmp_path: Path) -> None:
    train(patients, out=tmp_path / "run", folds=2, **QUICK)
    again = rerun(tmp_path / "run", out=tmp_path / "again")
    assert again is not None
    assert again["same"]
    assert (tmp_path / "run" / "folds.csv").read_bytes() == (tmp_path / "again" / "folds.csv").read_bytes()


def test_the_ladder_cross_validates_each_model(patients: Path) -> None:
    result = ladder(patients, folds=3, epochs=1, size=12, channels=1, group_by=r"p(\d+)_")
    assert [rung["folds"]["count"] for rung in result["rungs"] if rung.get("folds")] == [3] * len(result["rungs"])
    assert all(rung["folds"]["groups"] == result["rungs"][0]["folds"]["groups"] for rung in result["rungs"])  # type: ignore[index]


def test_the_command_line_shows_the_accuracy_of_the_folds(patients: Path, underhood: Callable[..., Any]) -> None:
    done = underhood("train", patients, "--model", "linear", "--epochs", 1, "--folds", 3, "--no-report")
    assert done.code == 0
    assert "cross-validated " in done.out
    assert "3 folds of" in done.out
    refused = underhood("train", patients, "--folds", 1)
    assert refused.code == 2
    assert "at least 2" in refused.err


def test_the_report_s_section_is_read_from_the_run(patients: Path, tmp_path: Path) -> None:
    result: Any = train(patients, out=tmp_path / "run", folds=3, group_by=r"p(\d+)_", **QUICK)
    assert read_folds(tmp_path / "run") == result["folds"]
    section = folds_section(tmp_path / "run")
    assert section is not None
    assert len(section["rows"]) == 3
    assert "3 folds" in section["sentence"]
    assert folds_section(tmp_path) is None


class Warnings(Reporter):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def warn(self, line: str) -> None:
        self.lines.append(line)


def test_more_folds_than_groups_are_fewer_with_a_warning(patients: Path, tmp_path: Path) -> None:
    reporter = Warnings()
    result: Any = train(patients, out=tmp_path / "run", folds=50, group_by=r"p(\d+)_", reporter=reporter, **QUICK)
    assert result["folds"]["count"] < 12
    assert any("folds instead of 50" in line for line in reporter.lines)


def test_a_class_of_one_group_is_trained_on_and_not_tested(patients: Path, tmp_path: Path) -> None:
    result: Any = train(patients, out=tmp_path / "run", folds=3, group_by=r"(ill)|p(\d+)_", **QUICK)
    assert result["folds"]["classes"] == ["ill"]


def test_label_issues_are_found_by_models_that_know_no_image_of_the_group(
    patients: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tested = []

    def predict(parts: Parts, train: Images, held_out: Images) -> np.ndarray:
        tested.extend(held_out.names)
        known, new = ({re.findall(r"p(\d+)_", name)[0] for name in images.names} for images in (train, held_out))
        assert not known & new
        return np.full((len(held_out), 2), 0.5, np.float32)

    monkeypatch.setattr(check, "predict_held_out", predict)
    parts = read_parts(patients, ReadOptions(group_by=r"p(\d+)_"))
    assert check.find_label_issues(parts, Reporter()) == []
    assert len(tested) == len(set(tested)) == 72


def test_folds_of_a_run_that_starts_from_another_are_refused() -> None:
    with pytest.raises(ValueError, match="folds and --from do not go together"):
        TrainConfig(folds=5, from_run="runs/one")


def test_folds_are_in_the_configuration(patients: Path, tmp_path: Path) -> None:
    train(patients, out=tmp_path / "run", folds=2, **QUICK)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["folds"] == 2


@given(st.lists(st.booleans(), min_size=1, max_size=60), st.integers(1, 8))
def test_the_interval_contains_the_accuracy_and_stays_within_0_and_1(right: list[bool], groups: int) -> None:
    low, high = accuracy_interval(np.array(right), np.arange(len(right)) % groups)
    assert 0 <= low <= np.mean(right) <= high <= 1


def test_without_groups_the_interval_is_wilson_s() -> None:
    right = np.arange(50) % 5 > 0
    assert accuracy_interval(right) == wilson_interval(40, 50)
    assert accuracy_interval(right, np.arange(50)) == wilson_interval(40, 50)


def test_images_that_are_right_together_say_less() -> None:
    """95 % of the intervals of images in 20 groups contain the truth; Wilson's interval of all images half of them."""
    generator, hits = np.random.default_rng(0), np.zeros(2)
    for _ in range(300):
        accuracy = generator.beta(3.6, 0.4, 20)  # of each group, 0.9 on average
        right, groups = generator.random((20, 20)) < accuracy[:, None], np.repeat(np.arange(20), 20)
        intervals = accuracy_interval(right.ravel(), groups), wilson_interval(int(right.sum()), 400)
        hits += [low <= 0.9 <= high for low, high in intervals]
    assert hits[0] / 300 > 0.9
    assert hits[1] / 300 < 0.7
