"""What a run meets in a long week: a full disk, a folder that goes away, a loss that is no number. One line each."""

import ctypes
import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Outcome
from test_resume import same_bytes

from underhood import resume, train
from underhood.core.errors import DivergedError, RunError, UnderhoodError
from underhood.core.learner import Learner, Step
from underhood.core.loader import DataLoader, DataLoaders
from underhood.core.losses import cross_entropy
from underhood.core.models import Architecture, build_model
from underhood.runs import checkpoint as states
from underhood.training import Reporter
from underhood.training.layer_stats import first_nan_layer


class At(Reporter):
    """Does something after a step."""

    def __init__(self, number: int, deed: Callable[[], object]):
        self.number, self.deed = number, deed

    def on_step(self, step: Step) -> None:
        if step.number == self.number:
            self.deed()


def test_a_state_that_cannot_be_written_leaves_the_earlier_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fills up on the fourth save."""
    saved: list[bytes] = []
    save = states.save_state
    asked: dict[str, Any] = {"model": "net", "epochs": 2, "save_every": 0}

    def full(folder: Path, *what: Any) -> None:
        if len(saved) == 3:
            raise RunError(f"cannot write {folder} (No space left on device): make room")
        save(folder, *what)
        saved.append((folder / "state.safetensors").read_bytes())

    with monkeypatch.context() as patched:
        patched.setattr("underhood.training.run.save_state", full)
        with pytest.raises(RunError, match="No space left"):
            train("digits", out=tmp_path / "broken", **asked)
    assert (tmp_path / "broken" / "state.safetensors").read_bytes() == saved[-1]
    resume(tmp_path / "broken")
    train("digits", out=tmp_path / "whole", **asked)
    assert same_bytes(tmp_path / "whole", tmp_path / "broken")


def train_in_a_process(out: Path, deed: str, before: Callable[[], object] | None = None) -> str:
    """Train in a process of its own, which does something after step 20. Returns what it says of the error."""
    script = f"""
import os, resource, sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_disasters import At
from underhood.core.errors import RunError
from underhood import train
out = Path({str(out)!r})
try:
    train("digits", model="net", epochs=5, out=out, save_every=0, reporter=At(20, lambda: {deed}))
except RunError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, preexec_fn=before, check=False
    )
    assert not done.stderr
    return done.stdout


def test_a_full_disk_is_one_line_and_the_last_state_stays(tmp_path: Path) -> None:
    """Real writes fail: from step 20 on, no file may grow past 1,000 bytes."""
    limit = "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))"
    said = train_in_a_process(tmp_path / "run", limit)
    first = tmp_path / "run" / "snapshots-20.safetensors"  # what a saved state writes first, of files this large
    assert said.startswith(f"cannot write {first} (File too large): free some space")
    assert len(said.splitlines()) == 1
    assert not list((tmp_path / "run").glob(".*.part"))
    saved = states.load_state(tmp_path / "run")
    assert saved is not None
    assert saved[0]["global_step"] == 19
    resume(tmp_path / "run")


def test_a_run_folder_that_is_deleted_is_one_line(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(RunError, match=r"cannot write .*(No such file|free some space)"):
        train("digits", model="net", epochs=5, out=out, save_every=0, reporter=At(20, lambda: shutil.rmtree(out)))
    assert not out.exists()


def obey() -> None:
    """Take from a process that is about to start what lets an administrator write where nobody may."""
    if os.geteuid() == 0:
        drop_from_bounding_set, override_permissions = 24, 1
        assert ctypes.CDLL(None).prctl(drop_from_bounding_set, override_permissions, 0, 0, 0) == 0


def test_a_run_folder_that_loses_its_permission_is_one_line_and_keeps_its_state(tmp_path: Path) -> None:
    out = tmp_path / "run"
    said = train_in_a_process(out, "out.chmod(0o500)", before=obey)
    out.chmod(0o700)
    assert "Permission denied" in said
    assert len(said.splitlines()) == 1
    saved = states.load_state(out)
    assert saved is not None
    assert saved[0]["global_step"] == 19
    resume(out)


def test_a_loss_that_is_no_number_is_never_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = iter(range(1, 1000))

    def breaks(*what: Any, **how: Any) -> torch.Tensor:
        return cross_entropy(*what, **how) * (float("nan") if next(calls) > 20 else 1)

    monkeypatch.setattr("underhood.core.losses.cross_entropy", breaks)
    with pytest.raises(UnderhoodError, match=r"nan at step \d+ \(epoch 1"):
        train("digits", out=tmp_path / "run", model="net", batch_size=128, epochs=3, save_every=0)
    loaded = states.load_state(tmp_path / "run")
    assert loaded is not None
    assert 12 < loaded[0]["global_step"] < 24
    assert torch.isfinite(loaded[0]["losses"]).all()


def test_the_layer_where_a_number_first_was_lost_is_named(tmp_path: Path) -> None:
    """conv's second convolution is given a weight that is infinite at step 25."""

    def broken(number: int) -> Any:
        class Breaks(Learner):
            def steps(self, *what: Any) -> Any:
                inner = super().steps(*what)

                def poisoned() -> Any:
                    while True:
                        if self.global_step == number - 1:
                            with torch.no_grad():
                                self.model[4].weight[0] = float("inf")
                        step = next(inner, None)
                        if step is None:
                            return
                        yield step

                return poisoned()

        return Breaks

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("underhood.core.learner.Learner", broken(25))
        with pytest.raises(
            DivergedError, match=r"step 25 .*in the weights of layer 4 \(Conv2d\); .*state, of step 24,"
        ) as lost:
            train("digits", out=tmp_path / "run", model="conv", batch_size=128, epochs=3, save_every=0)
    assert lost.value.step == 25
    assert "\n" not in str(lost.value)


def test_a_loss_that_breaks_by_itself_is_told_from_a_layer() -> None:
    data = DataLoader((torch.zeros(40, 1, 8, 8, dtype=torch.uint8), torch.zeros(40, dtype=torch.long)), 10)
    model = build_model(Architecture("net", 1, 8, 8, 2))
    learn = Learner(DataLoaders(data, data), model, lambda p, y: cross_entropy(p, y) * float("nan"))
    assert first_nan_layer(learn, learn.steps(1, 0.1), 1) == "in the loss alone"
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("megabytes", "flags"),
    [
        (400, ()),  # torch cannot be loaded
        (1200, ("--model", "resnet18", "--size", "64", "--batch-size", "512")),  # torch, in a step
        (1200, ("--model", "linear", "--size", "1024")),  # numpy, when the images are read
    ],
)
def test_too_little_memory_is_one_line(megabytes: int, flags: tuple[str, ...], tmp_path: Path) -> None:
    limit = megabytes * 1_000_000
    done = subprocess.run(
        [sys.executable, "-m", "underhood", "train", "--epochs", "1", *flags, "--out", tmp_path / "run"],
        capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert re.fullmatch(r"error: not enough memory \(.+\): choose a smaller .*\n", done.stderr)


@pytest.mark.parametrize(
    "said",
    [
        "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to "
        "allocate 9437184 bytes. Error code 12 (Cannot allocate memory)",
        "[enforce fail at alloc_cpu.cpp:114] data. DefaultCPUAllocator: not enough memory: you tried 8 bytes.",
        "unable to mmap 800 bytes from file <weights.safetensors>: Cannot allocate memory (12)",
        "CUDA out of memory. Tried to allocate 2.00 GiB.\nSee documentation",
        "std::bad_alloc",
        "can't start new thread",
    ],
)
def test_each_way_of_torch_to_miss_memory_is_one_line(
    said: str, underhood: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError(said)

    monkeypatch.setattr("underhood.jobs.train.make_setup", fails)
    done = underhood("train", "digits")
    assert done.code == 1
    assert re.fullmatch(r"error: not enough memory \(.+\): choose a smaller .*\n", done.err)


def test_a_fault_that_is_not_memory_keeps_its_traceback(
    underhood: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("libgomp.so.1: cannot allocate memory in static TLS block")  # the order of libraries

    monkeypatch.setattr("underhood.jobs.train.make_setup", fails)
    with pytest.raises(RuntimeError, match="static TLS"):
        underhood("train", "digits")


def test_a_wrong_name_of_a_matplotlib_backend_costs_no_report(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "underhood", "train", "--model", "linear", "--epochs", "1", "--out", tmp_path / "run"],
        capture_output=True, text=True, check=False, env=os.environ | {"MPLBACKEND": "nonsense"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "report.html").exists()


NO_HOME = """
import os, pwd, sys
os.environ = {"PATH": os.environ["PATH"]}
def unknown(uid):
    raise KeyError(uid)
pwd.getpwuid = unknown
sys.argv = ["underhood", *sys.argv[1:]]
from underhood.cli import main
main()
"""


@pytest.mark.parametrize("command", [("train", "--model", "linear", "--epochs", "1"), ("check", "digits")])
def test_a_user_without_a_home_folder_or_a_name_can_work(command: tuple[str, ...], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", NO_HOME, *command], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "~").exists()


def test_a_cache_without_a_home_folder_is_removed_with_its_process(tmp_path: Path) -> None:
    with_cache = NO_HOME.replace(
        "main()\n", "from underhood.data.cache import cache_folder as of; of().mkdir(); print(of())"
    )
    done = subprocess.run([sys.executable, "-c", with_cache], cwd=tmp_path, capture_output=True, text=True, check=False)
    folder = Path(done.stdout.strip())
    assert folder.name == "decoded", done.stderr
    assert not folder.parent.exists()
