"""A training that is changed by hand: recorded, repeated and resumed to the same bytes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from underhood import rerun, resume, train
from underhood.core.errors import RunError
from underhood.core.learner import Step
from underhood.core.schedule import one_cycle
from underhood.runs.checkpoint import load_run
from underhood.runs.interventions import Intervention, read_interventions, write_interventions
from underhood.runs.snapshots import load_snapshots
from underhood.training import Watcher
from underhood.training.interventions import Steering
from underhood.training.snapshots import snapshot_steps

SAME = ("weights.safetensors", "metrics.csv", "predictions.csv", "steps.csv", "layers.csv", "snapshots.safetensors")
OPTIONS: dict[str, Any] = {"epochs": 3, "batch_size": 128, "save_every": 0, "report": False}  # 36 steps


class Killed(BaseException):
    pass


class Hand(Watcher):
    """Changes a training after these steps: the learning rate, or "stop", or "kill"."""

    def __init__(self, changes: dict[int, Any]):
        self.changes = changes

    @contextmanager
    def watch(self, setup: Any, steering: Any, stop: Any) -> Iterator[None]:
        self.steering, self.total = steering, setup.recipe.epochs * len(setup.learn.dls.train)
        yield

    def after_step(self, step: Step) -> None:
        change = self.changes.get(step.number)
        if change == "kill":
            raise Killed
        if change == "stop":
            self.steering.stop(step.number, self.total)
        elif change is not None:
            self.steering.set_lr(change, step.number)


def same_bytes(one: Path, other: Path) -> bool:
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in SAME)


def test_a_changed_learning_rate_is_recorded_and_used_from_the_next_step_on(tmp_path: Path) -> None:
    train("digits", model="net", schedule="flat", out=tmp_path / "run", watcher=Hand({10: 0.5, 20: 0.001}), **OPTIONS)
    lines = (tmp_path / "run/interventions.csv").read_text().splitlines()
    assert lines == ["step,what,from,to", "11,lr,0.01,0.5", "21,lr,0.5,0.001"]
    rates = [float(row.split(",")[2]) for row in (tmp_path / "run/steps.csv").read_text().splitlines()[1:]]
    assert rates == pytest.approx([0.01] * 10 + [0.5] * 10 + [0.001] * 16)
    assert "from step 11 on, the highest learning rate is 0.5" in (tmp_path / "run/log.txt").read_text()


def test_with_a_schedule_the_highest_learning_rate_changes() -> None:
    steering = Steering(None, 0.01, one_cycle)
    steering.set_lr(0.1, done=50)
    assert steering.schedule(49, 100) == one_cycle(49, 100)
    assert 0.01 * steering.schedule(50, 100).lr_factor == pytest.approx(0.1 * one_cycle(50, 100).lr_factor)
    assert steering.schedule(50, 100).momentum == one_cycle(50, 100).momentum


def test_a_later_change_by_hand_replaces_what_was_recorded_for_later_steps() -> None:
    recorded = [Intervention(30, "lr", "0.01", "0.5"), Intervention(0, "without", "a.png", "")]
    steering = Steering(None, 0.01, one_cycle, recorded)
    steering.set_lr(0.02, done=9)
    steering.set_lr(0.03, done=9)
    assert steering.interventions == [recorded[1], Intervention(10, "lr", "0.01", "0.03")]


@pytest.mark.parametrize("model", ["conv", "net"])
def test_a_run_with_interventions_that_was_killed_and_resumed_and_its_rerun_end_in_the_same_bytes(
    tmp_path: Path, model: str
) -> None:
    train("digits", model=model, out=tmp_path / "whole", watcher=Hand({7: 0.05, 20: 0.002, 30: "stop"}), **OPTIONS)
    with pytest.raises(Killed):
        train("digits", model=model, out=tmp_path / "broken", watcher=Hand({7: 0.05, 20: 0.002, 22: "kill"}), **OPTIONS)
    resume(tmp_path / "broken", watcher=Hand({30: "stop"}))
    assert same_bytes(tmp_path / "whole", tmp_path / "broken")
    again = rerun(tmp_path / "broken", out=tmp_path / "again")
    assert again
    assert again["same"]
    assert same_bytes(tmp_path / "whole", tmp_path / "again")


def test_stop_and_keep_ends_the_epoch_under_way_and_keeps_a_whole_run(tmp_path: Path) -> None:
    result = train(
        "digits", model="net", out=tmp_path / "run", watcher=Hand({17: "stop"}), **OPTIONS | {"report": True}
    )
    assert result
    assert result["epochs"] == 2  # type: ignore[typeddict-item]
    rows = (tmp_path / "run/metrics.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["epoch", "0", "1"]
    assert len((tmp_path / "run/steps.csv").read_text().splitlines()) == 1 + 17
    assert read_interventions(tmp_path / "run") == [Intervention(17, "stop", "36", "17")]
    assert resume(tmp_path / "run") == {"run": str(tmp_path / "run"), "finished": True}


def test_stop_after_the_last_step_of_an_epoch_adds_no_second_row(tmp_path: Path) -> None:
    train("digits", model="net", out=tmp_path / "run", watcher=Hand({12: "stop"}), **OPTIONS)
    assert len((tmp_path / "run/metrics.csv").read_text().splitlines()) == 2


def test_a_run_that_was_killed_after_it_was_stopped_is_resumed_to_the_same_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train("digits", model="net", out=tmp_path / "whole", watcher=Hand({17: "stop"}), **OPTIONS)

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr("underhood.training.run.measure", die)
        with pytest.raises(Killed):
            train("digits", model="net", out=tmp_path / "broken", watcher=Hand({17: "stop"}), **OPTIONS)
    resume(tmp_path / "broken")
    assert same_bytes(tmp_path / "whole", tmp_path / "broken")


@pytest.mark.parametrize("row", ["1,lr,0.1,nan", "x,lr,1,2", "1,boil,1,2", "-1,lr,1,2", "1,lr", "9,stop,1e3,9"])
def test_damaged_interventions_are_an_error_of_one_line(tmp_path: Path, row: str) -> None:
    (tmp_path / "interventions.csv").write_text(f"step,what,from,to\n{row}\n")
    with pytest.raises(RunError, match=r"interventions\.csv is damaged") as error:
        read_interventions(tmp_path)
    assert "\n" not in str(error.value)


def test_interventions_are_read_as_they_were_written(tmp_path: Path) -> None:
    made = [
        Intervention(0, "without", 'a "b",c.png', ""),
        Intervention(3, "lr", "0.01", "0.1"),
        Intervention(9, "stop", "9", "9"),
    ]
    write_interventions(tmp_path, made)
    assert read_interventions(tmp_path) == made


def test_snapshots_are_dense_at_the_beginning_and_end_with_the_runs_own_weights(tmp_path: Path) -> None:
    steps = snapshot_steps(1407)
    assert 55 <= len(steps) <= 65
    assert steps[:12] == list(range(12))
    assert steps[-1] == 1407
    assert (np.diff(steps)[1:] >= np.diff(steps)[:-1] - 1).all()
    assert snapshot_steps(36) == list(range(37))
    train("digits", model="conv", out=tmp_path / "run", **OPTIONS)
    run = load_run(tmp_path / "run")
    snapshots = load_snapshots(run)
    assert snapshots
    assert snapshots.steps == tuple(range(37))
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    for i in (0, len(snapshots) - 1):
        snapshots.restore(run, i)
        same = [torch.equal(value, before[name]) for name, value in run.model.state_dict().items()]
        assert all(same) == (i > 0)
    assert [path.name for path in (tmp_path / "run").glob("snapshots*")] == ["snapshots.safetensors"]


def test_there_are_no_snapshots_if_none_are_wanted_or_the_weights_are_too_large(tmp_path: Path) -> None:
    train("digits", model="linear", out=tmp_path / "none", snapshots=False, **OPTIONS)
    assert not list((tmp_path / "none").glob("snapshots*"))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("underhood.training.snapshots.MAX_BYTES", 20_000)
        train("digits", model="linear", out=tmp_path / "large", **OPTIONS)
    assert not list((tmp_path / "large").glob("snapshots*"))
    assert "keeps no snapshots" in (tmp_path / "large/log.txt").read_text()


def test_large_weights_are_kept_at_fewer_steps(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("underhood.training.snapshots.MAX_BYTES", 60_000)
        train("digits", model="linear", out=tmp_path / "run", **OPTIONS)
    snapshots = load_snapshots(load_run(tmp_path / "run"))
    assert snapshots
    assert 12 <= len(snapshots) < 30
    assert (tmp_path / "run/snapshots.safetensors").stat().st_size < 65_000
