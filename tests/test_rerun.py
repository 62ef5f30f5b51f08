"""``rerun`` trains again from a run's record, and names what differs."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Outcome, picture

from underhood import rerun, train
from underhood.core.errors import RunError

Command = Callable[..., Outcome]


def test_the_same_again_is_the_same_to_the_byte(underhood: Command) -> None:
    run = underhood("train", "--epochs", 2, "--model", "conv", "--json").json["run"]
    again = underhood("rerun", run)
    assert again.code == 0
    assert "equal, byte for byte" in again.out
    told = underhood("rerun", run, "--json").json
    assert told["same"] is True
    assert told["differs"] == []
    assert Path(told["run"]) != Path(run)


def test_another_seed_is_named_with_the_figures_that_it_changes(underhood: Command) -> None:
    run = underhood("train", "--epochs", 2, "--model", "net", "--json").json["run"]
    again = underhood("rerun", run, "--seed", 7, "--json")
    assert again.code == 1
    assert again.json["same"] is False
    assert {"what": "seed", "name": "seed", "before": 0, "now": 7} in again.json["differs"]
    assert {"figure", "data"} <= {one["what"] for one in again.json["differs"]}  # others are held out
    assert "seed       seed: 0 → 7" in underhood("rerun", run, "--seed", 7).out


def test_changed_pictures_are_named_by_file(small_folder: Path, tmp_path: Path) -> None:
    before = train(small_folder, model="net", epochs=1, out=tmp_path / "one")["run"]
    (small_folder / "dark" / "3.png").unlink()
    picture(77).save(small_folder / "light" / "4.png")
    picture(78).save(small_folder / "light" / "new.png")
    told = rerun(before, out=tmp_path / "two")
    lines = [one["now"] for one in told["differs"] if one["what"] == "data"]
    assert lines == ["dark/3.png is gone", "light/4.png has other pixels", "light/new.png is new"]


def test_other_code_versions_and_machines_are_named(tmp_path: Path) -> None:
    run = Path(train("digits", model="linear", epochs=1, out=tmp_path / "one")["run"])
    environment = json.loads((run / "environment.json").read_text())
    (run / "environment.json").write_text(json.dumps(environment | {"code": "0", "torch": "1.0", "processor": "8086"}))
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"label_smoothing": 0.3}))
    told = rerun(run, out=tmp_path / "two")
    assert told["same"] is True
    assert {(one["what"], one["name"], one["before"]) for one in told["differs"]} == {
        ("code", "code", "0"),
        ("version", "torch", "1.0"),
        ("machine", "processor", "8086"),
        ("setting", "label_smoothing", 0.3),
    }


def test_an_unfinished_run_and_a_damaged_record_are_one_line(tmp_path: Path) -> None:
    run = Path(train("digits", model="linear", epochs=1, out=tmp_path / "one")["run"])
    (run / "pictures.csv").write_text("part,path\n1\n")
    with pytest.raises(RunError, match=r"pictures\.csv is damaged"):
        rerun(run, seed=1, out=tmp_path / "two")
    (run / "predictions.csv").unlink()
    with pytest.raises(RunError, match="--resume"):
        rerun(run, out=tmp_path / "three")
    with pytest.raises(RunError):
        rerun(tmp_path / "nowhere")
