"""``train --track tensorboard`` writes what the run's own files say, each step once, and changes nothing else."""

import importlib.util
import itertools
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Outcome
from test_ranks import train as train_with_processes
from test_resume import killed, killed_after, same_bytes

from underhood import rerun, resume, train
from underhood.core.errors import DivergedError, RunError, UnderhoodError
from underhood.core.losses import cross_entropy
from underhood.runs import checkpoint as states
from underhood.training import tracking as track

Command = Callable[..., Outcome]
ASKED: dict[str, Any] = {"model": "net", "epochs": 3, "batch_size": 128, "report": False}  # 12 steps an epoch


def scalars(run: Path) -> dict[str, list[tuple[int, float]]]:
    """Tag → (step, value) of each, as TensorBoard reads the folder."""
    from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator

    events = EventAccumulator(str(run / "tensorboard"), {SCALARS: 0})
    events.Reload()
    return {tag: [(one.step, one.value) for one in events.Scalars(tag)] for tag in events.Tags()[SCALARS]}


def rows(path: Path) -> list[list[float]]:
    return [[float(value) for value in line.split(",")] for line in path.read_text().splitlines()[1:]]


def assert_tells_what_the_run_says(run: Path) -> None:
    told = scalars(run)
    steps, epochs = np.array(rows(run / "steps.csv")), np.array(rows(run / "metrics.csv"))
    each = len(steps) // len(epochs)
    header = (run / "metrics.csv").read_text().split("\n")[0].split(",")
    expected = {"step/train_loss": steps[:, :2], "step/lr": steps[:, [0, 2]]}
    for column, name in enumerate(header[1:], start=1):
        expected[f"epoch/{name}"] = np.stack([(epochs[:, 0] + 1) * each, epochs[:, column]], axis=1)
    assert told.keys() == expected.keys()
    for tag, pairs in expected.items():
        assert [step for step, _ in told[tag]] == pairs[:, 0].tolist(), tag
        assert [value for _, value in told[tag]] == pairs[:, 1].astype(np.float32).tolist(), tag


def test_tensorboard_reads_what_the_run_says(underhood: Command) -> None:
    done = underhood(
        "train", "--epochs", 2, "--batch-size", 8, "--model", "net", "--no-report", "--track", "tensorboard", "--json"
    )
    run = Path(done.json["run"])
    assert done.code == 0
    assert done.err.count("error") == done.err.count("warning") == 0
    assert len(rows(run / "steps.csv")) == 360  # blocks of a hundred, and what is left of an epoch
    assert_tells_what_the_run_says(run)
    assert json.loads((run / "config.json").read_text())["track"] == "tensorboard"


def test_the_run_is_the_same_with_and_without(tmp_path: Path) -> None:
    asked = ASKED | {"model": "conv"}  # augmented
    with_it, without = (Path(train(out=tmp_path / (track or "no"), track=track, **asked)["run"])
                        for track in ("tensorboard", None))  # fmt: skip
    assert same_bytes(with_it, without)
    assert {path.name for path in with_it.iterdir()} - {path.name for path in without.iterdir()} == {"tensorboard"}


@pytest.mark.parametrize("step", [1, 17, 24, 36], ids=["first", "within an epoch", "end of an epoch", "last"])
def test_a_run_that_goes_on_has_each_step_once(step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was killed at the worst moment: when its state was just saved."""
    run, broken = tmp_path / "run", tmp_path / "broken"
    save = states.save_state

    def save_and_copy(folder: Path, state: dict[str, Any], seconds: float) -> None:
        save(folder, state, seconds)
        if state["global_step"] == step:
            shutil.copytree(run, broken, ignore=shutil.ignore_patterns(".lock"))

    with monkeypatch.context() as patched:
        patched.setattr("underhood.training.run.save_state", save_and_copy)
        train(out=run, track="tensorboard", save_every=0, **ASKED)
    for file in (broken / "tensorboard").iterdir():
        with file.open("ab") as cut:
            cut.write(b"\x18\0\0\0\0")  # of a record that was being written
    resume(broken)
    assert len(list((broken / "tensorboard").iterdir())) == 2
    assert_tells_what_the_run_says(broken)
    assert same_bytes(run, broken)


def test_what_was_written_after_the_last_state_is_dropped(tmp_path: Path) -> None:
    """The state is of step 13, and the events already reach step 110 of the same epoch."""
    asked = ASKED | {"batch_size": 8, "epochs": 1}
    broken = killed(14, tmp_path / "run", track="tensorboard", save_every=0, **asked)
    state = (broken / "state.safetensors").read_bytes()
    config = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps(config | {"save_every": 1e9}))
    with killed_after(110) as reporter:
        resume(broken, reporter=reporter)
    assert (broken / "state.safetensors").read_bytes() == state
    assert [step for step, _ in scalars(broken)["step/lr"]] == list(range(1, 111))
    resume(broken)
    assert_tells_what_the_run_says(broken)


def test_rerun_compares_what_counts_and_does_not_track(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = train(out=tmp_path / "one", track="tensorboard", **ASKED)["run"]
    without_tensorboard(monkeypatch)
    told = rerun(run, out=tmp_path / "two")
    assert told["same"] is True
    assert told["differs"] == []
    assert not (tmp_path / "two" / "tensorboard").exists()


def without_tensorboard(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(track, "find_spec", lambda name: None if name == "tensorboard" else found(name))


def test_without_tensorboard_it_is_one_line_before_any_work(
    underhood: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = killed(3, tmp_path / "broken", track="tensorboard", **ASKED)
    without_tensorboard(monkeypatch)
    line = "error: --track tensorboard needs tensorboard: pip install 'underhood-vision[tensorboard]'\n"
    for arguments in (("nowhere", "--track", "tensorboard"), ("--resume", broken)):
        done = underhood("train", *arguments)
        assert (done.code, done.out, done.err) == (1, "", line)
    assert not Path("runs").exists()
    with pytest.raises(UnderhoodError, match="needs tensorboard"):
        train(track="tensorboard")


def test_an_unknown_tracker_is_a_wrong_flag(underhood: Command) -> None:
    done = underhood("train", "--track", "tensorbord")
    assert done.code == 2
    assert done.err == "error: unknown track 'tensorbord': did you mean 'tensorboard'? known: tensorboard\n"


@pytest.mark.parametrize("step", [5, 12], ids=["within an epoch", "at its end"])
def test_a_nan_loss_is_written(step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = itertools.count(1)

    def breaks(*what: Any, **how: Any) -> torch.Tensor:
        return cross_entropy(*what, **how) * (math.nan if next(calls) == step else 1)

    monkeypatch.setattr("underhood.core.losses.cross_entropy", breaks)
    with pytest.raises(DivergedError):
        train(out=tmp_path / "run", track="tensorboard", **ASKED)
    steps, losses = zip(*scalars(tmp_path / "run")["step/train_loss"], strict=True)
    assert steps == tuple(range(1, 13))
    assert not np.isfinite(losses).all()


def test_where_nothing_can_be_written_it_is_one_line(tmp_path: Path) -> None:
    broken = killed(3, tmp_path / "run", save_every=0, **ASKED)
    (broken / "tensorboard").write_text("a file")
    config = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps(config | {"track": "tensorboard"}))
    with pytest.raises(RunError, match=r"cannot write .*run/tensorboard \(File exists\): fix that"):
        resume(broken)


def test_of_several_processes_the_first_writes(tmp_path: Path) -> None:
    done = train_with_processes(
        2, tmp_path / "run", "--model", "net", "--epochs", 2, "--batch-size", 128, "--no-report",
        "--track", "tensorboard",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "run" / "tensorboard").iterdir())) == 1
    assert_tells_what_the_run_says(tmp_path / "run")


def test_what_cannot_be_written_is_one_line_and_the_run_goes_on_without(underhood: Command, tmp_path: Path) -> None:
    broken = killed(14, tmp_path / "run", track="tensorboard", save_every=0, **ASKED)
    shutil.rmtree(broken / "tensorboard")
    (broken / "tensorboard").symlink_to("/dev/full")
    failed = underhood("train", "--resume", broken)
    assert failed.code == 1
    assert failed.err.splitlines()[-1].startswith("error: cannot write ")
    assert "Traceback" not in failed.err
    (broken / "tensorboard").unlink()
    assert underhood("train", "--resume", broken).code == 0
