"""The CPU threads of a training: their number depends on the work and the machine, never on the load of the moment."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Outcome
from hypothesis import given, strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from underhood.analysis.inference import multiply_adds
from underhood.core.images import Dataset
from underhood.core.learner import Learner
from underhood.core.loader import DataLoaders
from underhood.core.losses import cross_entropy
from underhood.core.models import MODELS, Architecture, build_model
from underhood.data import decode
from underhood.data.decode import available_cpus
from underhood.training import threads
from underhood.training.record import recorded_threads
from underhood.training.threads import WORK_PER_THREAD, choose_threads, pinned_threads

MUCH = 10**12  # multiply-adds of a step
two_cpus = pytest.mark.skipif(available_cpus() != 2, reason="needs a machine of two CPUs")


@pytest.fixture
def eight_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "available_cpus", lambda: 8)


@pytest.mark.usefixtures("eight_cpus")
def test_a_step_with_little_work_gets_one_thread_and_one_with_much_gets_all() -> None:
    assert choose_threads(0, 8, {}) == choose_threads(WORK_PER_THREAD, 8, {}) == 1
    assert choose_threads(3 * WORK_PER_THREAD, 8, {}) == 3
    assert choose_threads(MUCH, 8, {}) == 8
    assert choose_threads(MUCH, 4, {}) == 4  # torch leaves hyper-threads out


@pytest.mark.usefixtures("eight_cpus")
def test_what_the_user_has_set_holds_but_not_what_torchrun_sets() -> None:
    assert choose_threads(0, 3, {"OMP_NUM_THREADS": "3"}) == 3
    assert choose_threads(MUCH, 1, {"OMP_NUM_THREADS": "1"}) == 1
    assert choose_threads(MUCH, 1, {"OMP_NUM_THREADS": "1", "LOCAL_WORLD_SIZE": "2"}) == 4
    assert choose_threads(MUCH, 2, {"OMP_NUM_THREADS": "2", "LOCAL_WORLD_SIZE": "2"}) == 2
    assert choose_threads(MUCH, 1, {"OMP_NUM_THREADS": "1", "LOCAL_WORLD_SIZE": "1"}) == 1


@given(st.integers(0, MUCH), st.integers(1, 256), st.integers(1, 16))
def test_there_is_at_least_one_thread_and_never_more_than_cpus(work: int, cpus: int, processes: int) -> None:
    environment = {"OMP_NUM_THREADS": "1", "LOCAL_WORLD_SIZE": str(processes)} if processes > 1 else {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threads, "available_cpus", lambda: cpus)
        count = choose_threads(work, cpus, environment)
    assert 1 <= count <= max(1, cpus // processes)


@pytest.mark.parametrize(
    ("maximum", "cpus"),
    [("max 100000", 64), ("100000 100000", 1), ("150000 100000", 2), ("20000 100000", 1), ("?", 64)],
)
def test_a_quota_of_the_cgroup_or_of_one_above_it_limits_the_cpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, maximum: str, cpus: int
) -> None:
    monkeypatch.setattr(decode.os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    inner = tmp_path / "user.slice" / "job"
    inner.mkdir(parents=True)
    (inner / "cpu.max").write_text("max 100000\n")
    (inner.parent / "cpu.max").write_text(maximum + "\n")
    (tmp_path / "membership").write_text("0::/user.slice/job\n")
    assert available_cpus(tmp_path, tmp_path / "membership") == cpus
    assert available_cpus(tmp_path, tmp_path / "missing") == 64


@pytest.mark.parametrize("model", MODELS)
def test_multiply_adds_are_those_that_torch_counts(model: str) -> None:
    network = build_model(Architecture(model, 3, 32, 32, 10))  # type: ignore[arg-type]
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))
    network.train()
    assert multiply_adds(network, np.zeros((3, 32, 32), np.uint8)) == counter.get_total_flops() // 2
    assert network.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def affinities() -> dict[str, set[int]]:
    """The CPUs that each thread of this process may run on, by its number."""
    return {task.name: os.sched_getaffinity(int(task.name)) for task in Path("/proc/self/task").iterdir()}


def pinned_since(before: dict[str, set[int]]) -> list[set[int]]:
    """The CPUs of the threads that have been pinned. (Those of other libraries may have been before: onnxruntime's.)"""
    return [cpus for task, cpus in affinities().items() if len(cpus) == 1 and cpus != before.get(task)]


def learner(data: Dataset) -> Learner:
    return Learner(DataLoaders.from_dataset(data, 128), nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), cross_entropy)


@two_cpus
def test_threads_keep_a_cpu_each_while_a_run_trains_and_may_run_anywhere_afterwards(digits: Dataset) -> None:
    everywhere, before = os.sched_getaffinity(0), affinities()
    torch.set_num_threads(2)
    with pinned_threads(learner(digits)):
        pinned = pinned_since(before)
        assert len(pinned) == 2
        assert set.union(*pinned) == everywhere
    assert os.sched_getaffinity(0) == everywhere
    assert pinned_since(before) == []


@two_cpus
@pytest.mark.parametrize("name", ["OMP_PROC_BIND", "GOMP_CPU_AFFINITY"])
def test_threads_that_the_user_has_placed_are_left_there(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "true")
    before = affinities()
    with pinned_threads(learner(digits)):
        assert pinned_since(before) == []


@two_cpus
def test_fewer_threads_than_cpus_are_not_pinned(digits: Dataset) -> None:
    torch.set_num_threads(1)
    before = affinities()
    try:
        with pinned_threads(learner(digits)):
            assert pinned_since(before) == []
    finally:
        torch.set_num_threads(2)


def run_python(code: str, **environment: str) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    done = subprocess.run(
        [sys.executable, "-c", code], env=clean | environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_waiting_threads_sleep_soon_unless_the_user_has_said_how_they_wait() -> None:
    code = "import os, underhood; print(os.environ.get('GOMP_SPINCOUNT'))"
    assert run_python(code) == "5000"
    assert run_python(code, GOMP_SPINCOUNT="7") == "7"
    assert run_python(code, OMP_WAIT_POLICY="active") == "None"


def test_the_number_of_threads_is_recorded_and_torch_has_its_own_again_afterwards(underhood: object) -> None:
    before = torch.get_num_threads()
    outcome: Outcome = underhood("train", "digits", "--epochs", 1, "--threads", 3, "--no-report", "--out", "run")  # type: ignore[operator]
    assert outcome.code == 0
    assert json.loads(Path("run/environment.json").read_text())["threads"] == 3
    assert json.loads(Path("run/config.json").read_text())["threads"] == 3
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("wrong", ["0", "1025", "two"])
def test_a_number_of_threads_that_makes_no_sense_is_refused(underhood: object, wrong: str) -> None:
    outcome: Outcome = underhood("train", "digits", "--threads", wrong)  # type: ignore[operator]
    assert outcome.code == 2
    assert "threads" in outcome.err


def train_elsewhere(folder: Path, *arguments: str, **environment: str) -> None:
    code = "from underhood.cli import main; main()"
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    subprocess.run(
        [sys.executable, "-c", code, "train", *arguments], env=clean | environment, check=True, capture_output=True,
        cwd=folder,
    )  # fmt: skip


@pytest.mark.slow
def test_a_resume_and_a_rerun_keep_the_run_s_own_number_of_threads(tmp_path: Path, underhood: object) -> None:
    train_elsewhere(tmp_path, "digits", "--epochs", "3", "--out", "run", "--no-report", OMP_NUM_THREADS="2")
    weights = (tmp_path / "run/weights.safetensors").read_bytes()
    for name in ("weights.safetensors", "predictions.csv"):  # as after a kill before they were written
        (tmp_path / "run" / name).unlink()
    train_elsewhere(tmp_path, "--resume", "run", OMP_NUM_THREADS="1")
    assert (tmp_path / "run/weights.safetensors").read_bytes() == weights
    outcome: Outcome = underhood("rerun", tmp_path / "run", "--out", tmp_path / "again", "--json")  # type: ignore[operator]
    assert outcome.json["same"] is True
    assert json.loads((tmp_path / "again/environment.json").read_text())["threads"] == 2


@pytest.mark.parametrize("left", ["x", "", "-1", "1.5"])
def test_a_number_of_processes_that_is_none_is_ignored(left: str) -> None:
    assert choose_threads(10**12, 2, {"LOCAL_WORLD_SIZE": left}) == choose_threads(10**12, 2, {})


@pytest.mark.parametrize("threads", [True, 0, -1, 1.5, "2", 1025, 10**9, 2**70, None])
def test_a_record_with_a_number_of_threads_that_train_refuses_is_not_followed(threads: object, tmp_path: Path) -> None:
    record = tmp_path / "environment.json"
    record.write_text(json.dumps({"threads": threads, "processes": 1}))
    assert recorded_threads(tmp_path) is None
    record.write_text(json.dumps({"threads": 1024, "processes": 1}))
    assert recorded_threads(tmp_path) == 1024
