"""A run is finished when all its files are there: killed at any of its writes, it is completed, byte for byte."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import picture
from safetensors import safe_open

from underhood import report, resume, train
from underhood.core.errors import RunError

# Trains in forks of one process. Fork k is killed when it would give file k its name: the file beside it is complete.
KILLS = """
import os, signal, sys
import matplotlib.figure, scipy.stats, torch
from underhood import reporting, resume, train
from underhood.training import layer_stats, run

def in_a_fork(job):
    child = os.fork()
    if child == 0:
        code = 1
        try:
            job()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def begin(killed_at=None):
    writes, replace = [], os.replace
    def counted(source, target, **how):
        writes.append(os.path.basename(target))
        if len(writes) == killed_at:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target, **how)
    os.replace = counted
    train("digits", model="net", epochs=1, limit=100, batch_size=40, save_every=0, seed=1, out="run")
    print(*writes, flush=True)

for k in range(int(sys.argv[1]), 100):
    os.makedirs(str(k))
    os.chdir(str(k))
    code = in_a_fork(lambda: begin(k or None))
    if k and code == 0:
        break
    if k:
        assert code == -signal.SIGKILL, code
        again = (lambda: resume("run")) if os.path.exists("run/config.json") else begin
        assert in_a_fork(again) == 0, k
    os.chdir("..")
"""


@pytest.mark.slow
def test_a_run_killed_at_each_of_its_writes_is_completed_to_the_same_files_and_bytes(tmp_path: Path) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", KILLS, "0"],
        cwd=tmp_path, capture_output=True, text=True, check=False, env=environment, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    writes = done.stdout.splitlines()[0].split()
    assert {"config.json", "state.safetensors", "steps.csv", "predictions.csv", "ood.csv", "report.html"} <= set(writes)
    whole = files(tmp_path / "0" / "run")
    for number, name in enumerate(writes, start=1):
        broken = files(tmp_path / str(number) / "run")
        assert broken.keys() == whole.keys(), (number, name)
        assert [file for file in whole if broken[file] != whole[file]] == [], (number, name)


@pytest.mark.parametrize("again", [resume, report], ids=["resume", "report"])
@pytest.mark.parametrize("full", ["ood.csv", "report.html"])
def test_a_disk_that_is_full_at_the_report_is_no_finished_run(
    again: Callable[..., Any], full: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {"model": "linear", "epochs": 1, "limit": 100}
    monkeypatch.chdir(tmp_path)  # the page shows the run's path
    train("digits", out="run", **asked)
    whole = files(tmp_path / "run")
    (tmp_path / "run").rename("whole")
    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", on_a_disk_that_is_full(full))
        with pytest.raises(RunError, match=rf"cannot write run/{full} \(No space left on device\)"):
            train("digits", out="run", **asked)
    assert not (tmp_path / "run" / "report.html").exists()
    state = (tmp_path / "run" / "state.safetensors").stat().st_mtime_ns
    again("run")
    broken = files(tmp_path / "run")
    if again is report:  # counts of other data sets are not the run's own
        whole, broken = (
            {name: of[name] for name in whole if name not in ("ood.csv", "report.html")} for of in (whole, broken)
        )
    assert broken == whole
    assert (tmp_path / "run" / "report.html").exists()
    assert (tmp_path / "run" / "state.safetensors").stat().st_mtime_ns == state  # nothing was trained again
    assert resume("run") == {"run": "run", "finished": True}


def on_a_disk_that_is_full(name: str) -> Callable[..., None]:
    replace = os.replace

    def full(source: Path, target: Path) -> None:
        if Path(target).name == name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    return full


@pytest.mark.parametrize("gone", ["steps.csv", "layers.csv", "ideals.npy", "weights.safetensors", "predictions.csv"])
def test_a_run_without_one_of_its_files_is_not_finished_and_resume_writes_it(gone: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train("digits", model="linear", epochs=1, limit=100, out=run, report=False)
    whole = files(run)
    (run / gone).unlink()
    with pytest.raises(RunError, match=rf"is not (a )?finished.* it has no {gone}"):
        report(run)
    resume(run)
    assert files(run) == whole
    assert resume(run) == {"run": str(run), "finished": True}


def test_what_a_killed_process_was_writing_is_removed_when_its_run_goes_on(tmp_path: Path) -> None:
    run = tmp_path / "run"
    train("digits", model="linear", epochs=1, limit=100, out=run, report=False)
    (run / "predictions.csv").rename(run / ".predictions.csv.part")
    (run / ".state.safetensors.part").write_bytes(b"half")
    resume(run)
    assert not list(run.glob(".*"))


def test_a_report_of_images_that_have_changed_is_not_completed(small_folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(small_folder, model="linear", epochs=1, out=run)
    (run / "report.html").unlink()
    picture(9).save(small_folder / "dark" / "new.png")
    with pytest.raises(RunError, match=r"have changed since \(dark/new.png is new\)"):
        resume(run)


def files(run: Path) -> dict[str, object]:
    """Content by name, without durations and without the hash of the code, which somebody may be editing."""
    content: dict[str, object] = {path.name: path.read_bytes() for path in run.iterdir()}
    content["log.txt"] = None
    content["environment.json"] = json.loads((run / "environment.json").read_text()) | {"code": None}
    with safe_open(run / "state.safetensors", "np") as state:
        content["state.safetensors"] = {name: state.get_tensor(name).tobytes() for name in state.keys()}  # noqa: SIM118
    return content
