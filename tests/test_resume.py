"""A run that is ended anywhere goes on from its last state and ends in the same bytes."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import Outcome, picture

from underhood import resume, train
from underhood.core.errors import InterruptedRunError, RunError, UnderhoodError
from underhood.core.learner import Step
from underhood.runs import checkpoint as states
from underhood.training import Reporter

Command = Callable[..., Outcome]
SAME = ("weights.safetensors", "metrics.csv", "predictions.csv", "steps.csv", "layers.csv", "snapshots.safetensors")


class Killed(BaseException):
    pass


class Count(Reporter):
    """Keeps the numbers of the steps."""

    def __init__(self) -> None:
        self.numbers = [0]

    def on_step(self, step: Step) -> None:
        self.numbers.append(step.number)


@contextmanager
def killed_after(steps: int) -> Iterator[Reporter]:
    """Ends a training, whose reporter this gives, right after the checkpoint of this step, as a SIGKILL would."""
    reporter = Count()

    def check(_: object) -> None:
        if reporter.numbers[-1] >= steps:
            raise Killed

    with pytest.MonkeyPatch.context() as patched, pytest.raises(Killed):  # noqa: PT012
        patched.setattr("underhood.training.run.StopFlag.check", check)
        yield reporter


def killed(steps: int, out: Path, **asked: Any) -> Path:
    with killed_after(steps) as reporter:
        train("digits", out=out, reporter=reporter, **asked)
    return out


def same_bytes(one: Path, other: Path) -> bool:
    names = [name for name in SAME if (one / name).exists() or (other / name).exists()]  # large weights: no snapshots
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in names)


WAYS = [
    {"model": "linear", "optimizer": "sgd", "epochs": 3},
    {"model": "net", "optimizer": "adam", "schedule": "flat", "epochs": 3},
    {"model": "conv", "epochs": 4},  # augmented
    {"model": "conv", "optimizer": "sgd", "precision": "bfloat16", "epochs": 3, "effort": "best"},
    {"model": "vgg", "epochs": 2, "balance": "sampler", "limit": 300},
    {"model": "resnet18", "epochs": 2, "balance": "weights", "limit": 150},
]


@pytest.mark.parametrize("asked", WAYS, ids=lambda asked: asked["model"] + asked.get("optimizer", ""))
def test_a_resumed_run_ends_in_the_bytes_of_an_unbroken_one(asked: dict[str, Any], tmp_path: Path) -> None:
    """Whichever step it stopped at: in its first epoch, at an epoch's end, and twice."""
    asked = {"batch_size": 128, "save_every": 0, "report": False} | asked
    train("digits", out=tmp_path / "whole", **asked)
    finished = states.load_state(tmp_path / "whole")
    assert finished
    total = finished[0]["global_step"]
    each = total // asked["epochs"]
    for stop in sorted({1, 2, each, each + 1, total - 1, total} & set(range(1, total + 1))):
        broken = killed(stop, tmp_path / f"broken-{stop}", **asked)
        resume(broken)
        assert same_bytes(tmp_path / "whole", broken), stop


def test_a_run_that_started_from_another_keeps_its_preparation_and_needs_the_other_no_more(tmp_path: Path) -> None:
    earlier = {"model": "linear", "size": 16, "epochs": 1, "report": False}
    train("digits", out=tmp_path / "earlier", **earlier)  # type: ignore[arg-type]
    asked: dict[str, Any] = {"from_run": tmp_path / "earlier", "epochs": 2, "save_every": 0, "report": False}
    train("digits", out=tmp_path / "whole", **asked)
    broken = killed(10, tmp_path / "broken", **asked)
    shutil.rmtree(tmp_path / "earlier")
    resume(broken)
    assert same_bytes(tmp_path / "whole", broken)


def test_a_run_can_be_broken_again_and_again(tmp_path: Path) -> None:
    asked: dict[str, Any] = {"model": "net", "epochs": 3, "batch_size": 128, "save_every": 0, "report": False}
    train("digits", out=tmp_path / "whole", **asked)
    broken = killed(3, tmp_path / "broken", **asked)
    for stop in (7, 12, 13, 25):
        with killed_after(stop) as reporter:
            resume(broken, reporter=reporter)
    resume(broken)
    assert same_bytes(tmp_path / "whole", broken)


def test_nothing_is_done_twice_or_left_out(tmp_path: Path) -> None:
    broken = killed(15, tmp_path / "broken", model="net", epochs=3, batch_size=128, save_every=0, report=False)
    counted = Count()
    resume(broken, reporter=counted)
    assert counted.numbers == [0, *range(16, 37)]


def test_a_run_killed_before_its_first_state_starts_again_from_config(tmp_path: Path) -> None:
    asked: dict[str, Any] = {"model": "net", "epochs": 2, "seed": 3, "report": False}
    train("digits", out=tmp_path / "whole", **asked)
    broken = killed(1, tmp_path / "broken", **asked)
    assert not (broken / "state.safetensors").exists()
    for name in ("data.json", "environment.json"):
        (broken / name).unlink()
    resume(broken)
    assert same_bytes(tmp_path / "whole", broken)


def test_a_finished_run_says_so(underhood: Command) -> None:
    run = underhood("train", "--epochs", 1, "--json").json["run"]
    before = {path.name: path.read_bytes() for path in Path(run).iterdir()}
    done = underhood("train", "--resume", run)
    assert done.code == 0
    assert "is finished" in done.out
    assert underhood("train", "--resume", run, "--json").json == {"run": run, "finished": True}
    assert before == {path.name: path.read_bytes() for path in Path(run).iterdir()}


def test_resume_stands_alone(underhood: Command) -> None:
    assert underhood("train", "--resume", "runs/x", "--epochs", 3).code == 2
    assert underhood("train", "digits", "--resume", "runs/x").code == 2
    assert underhood("train", "--resume", "runs/x").code == 1


def test_changed_data_are_refused_by_name(small_folder: Path, tmp_path: Path) -> None:
    asked: dict[str, Any] = {"model": "net", "epochs": 2, "save_every": 0, "out": tmp_path / "broken"}
    with killed_after(2) as reporter:
        train(small_folder, reporter=reporter, **asked)
    picture(9).save(small_folder / "dark" / "new.png")
    with pytest.raises(UnderhoodError, match=r"changed since .*dark/new.png is new"):
        resume(tmp_path / "broken")
    (small_folder / "dark" / "new.png").unlink()
    resume(tmp_path / "broken")


def test_another_processor_is_a_warning(tmp_path: Path) -> None:
    broken = killed(3, tmp_path / "broken", model="net", epochs=2, save_every=0)
    environment = json.loads((broken / "environment.json").read_text())
    (broken / "environment.json").write_text(json.dumps(environment | {"processor": "8086"}))
    warnings: list[str] = []

    class Hear(Reporter):
        def warn(self, line: str) -> None:
            warnings.append(line)

    resume(broken, reporter=Hear())
    assert any("processor was 8086" in line for line in warnings)


def test_a_second_process_is_refused_and_a_dead_one_leaves_no_lock(tmp_path: Path) -> None:
    broken = killed(3, tmp_path / "broken", model="net", epochs=2, save_every=0)
    holds = (
        "import sys, filelock as f; lock = f.FileLock(sys.argv[1]); lock.acquire(); print('held', flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holds, broken / ".lock"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout
        assert other.stdout.readline() == "held\n"
        with pytest.raises(RunError, match="another process"):
            resume(broken)
        other.kill()
    resume(broken)
    assert not (broken / ".lock").exists()


@pytest.mark.parametrize("content", [b"", b"x" * 100, b"\x08\0\0\0\0\0\0\0{}      "])
def test_a_damaged_state_is_one_line(tmp_path: Path, content: bytes) -> None:
    broken = killed(3, tmp_path / "broken", model="net", epochs=2, save_every=0)
    (broken / "state.safetensors").write_bytes(content)
    with pytest.raises(RunError, match="damaged"):
        resume(broken)


def test_a_state_of_another_model_is_one_line(tmp_path: Path) -> None:
    one = killed(3, tmp_path / "one", model="net", epochs=2, save_every=0)
    other = killed(3, tmp_path / "other", model="linear", epochs=2, save_every=0)
    (one / "state.safetensors").write_bytes((other / "state.safetensors").read_bytes())
    with pytest.raises(RunError, match=r"does not fit config\.json"):
        resume(one)


def start(out: Path, *flags: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "underhood", "train", "--epochs", "30", "--model", "net", "--batch-size", "16"]
    return subprocess.Popen(
        [*command, "--save-every", "0", "--out", str(out), *flags],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "whole"
    out_text, err = start(out).communicate()
    assert (out / "predictions.csv").exists(), out_text + err
    return out


def trained_in(run: Path) -> float:
    """Seconds from a run's record to its end."""
    return (run / "predictions.csv").stat().st_mtime - (run / "config.json").stat().st_mtime


def wait_for(path: Path) -> None:
    for _ in range(600):
        if path.exists():
            return
        time.sleep(0.05)
    raise AssertionError(f"{path} did not come")


@pytest.mark.parametrize("seed", range(3))
def test_a_run_killed_at_any_moment_resumes_to_the_same_bytes(seed: int, whole: Path, tmp_path: Path) -> None:
    """Real processes, SIGKILL, a save after each step, so that most kills fall into one."""
    moment = random.Random(seed).uniform(0, 0.7 * trained_in(whole))
    for attempt in range(6):  # on a machine that is less busy than a moment ago a run may end before its kill
        out = tmp_path / f"run-{attempt}"
        process = start(out)
        wait_for(out / "config.json")
        time.sleep(moment / 2**attempt)
        process.kill()
        process.communicate()
        if process.returncode == -signal.SIGKILL:
            break
    assert process.returncode == -signal.SIGKILL
    done = subprocess.run(
        [sys.executable, "-m", "underhood", "train", "--resume", out], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert same_bytes(whole, out)


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_save_and_say_how_to_go_on(sent: signal.Signals, code: int, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start(out)
    wait_for(out / "state.safetensors")
    process.send_signal(sent)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert f"underhood train --resume {out}" in err
    assert len(err.strip().splitlines()) == 1
    resume(out)
    assert same_bytes(whole, out)


def test_a_stop_within_a_step_is_heeded_after_it(tmp_path: Path) -> None:
    class Interrupt(Reporter):
        def on_step(self, step: Step) -> None:
            if step.number == 5:
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(InterruptedRunError) as stopped:
        train("digits", out=tmp_path / "run", model="net", epochs=2, reporter=Interrupt())
    assert stopped.value.code == 130
    loaded = states.load_state(tmp_path / "run")
    assert loaded is not None
    assert loaded[0]["global_step"] == 5
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_metrics_hold_the_epochs_before_the_break_too(tmp_path: Path) -> None:
    broken = killed(30, tmp_path / "broken", model="net", epochs=4, batch_size=128, save_every=0, report=False)
    resume(broken)
    rows = (broken / "metrics.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["epoch", "0", "1", "2", "3"]
