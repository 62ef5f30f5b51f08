"""Several processes train one model: the same losses, each picture counted once, and none left behind."""

import json
import re
import shutil
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import picture
from hypothesis import given, strategies as st

import underhood
from underhood.core.augment import Augmentation
from underhood.core.errors import RunError, UnderhoodError
from underhood.core.images import Dataset
from underhood.core.loader import DataLoader
from underhood.runs.checkpoint import load_state
from underhood.training.distributed import SINGLE_PROCESS, STORE_VARIABLE, Processes, init_distributed

SAME = ("weights.safetensors", "metrics.csv", "predictions.csv")


def torchrun(processes: int, *arguments: object, restarts: int = 0, timeout: int = 120) -> subprocess.CompletedProcess:
    launcher = ["-m", "torch.distributed.run", "--standalone"]
    launcher += ["--nproc-per-node", str(processes), "--max-restarts", str(restarts)]
    return subprocess.run(
        [sys.executable, *launcher, *map(str, arguments)],
        capture_output=True, text=True, check=False, timeout=timeout,
    )  # fmt: skip


def train(processes: int, out: Path, *flags: object, **how: int) -> subprocess.CompletedProcess:
    return torchrun(processes, "-m", "underhood", "train", *flags, "--out", out, **how)


def write_script(path: Path, text: str) -> Path:
    path.write_text(textwrap.dedent(text))
    return path


@given(st.integers(1, 300), st.integers(1, 9))
def test_shares_of_any_number_of_processes_are_disjoint_and_complete(count: int, size: int) -> None:
    parts = [range(count)[Processes(rank, size).shard(count)] for rank in range(size)]
    assert [i for part in parts for i in part] == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert parts[0]


@given(st.integers(1, 40), st.integers(1, 15), st.integers(1, 5), st.integers(0, 9))
def test_each_batch_is_divided_and_augmented_as_a_whole(count: int, batch: int, size: int, seed: int) -> None:
    x, y = torch.arange(count * 16).reshape(count, 1, 4, 4) % 256, torch.arange(count)
    moved = Augmentation(shift=0.1, rotation=20, flip=True)

    def loader(processes: Processes) -> DataLoader:
        return processes.shard_loader(DataLoader((x, y), batch, shuffle=True, seed=seed, augmentation=moved))

    everyone = [list(loader(Processes(rank, size)).batches(3)) for rank in range(size)]
    for number, (pictures, labels) in enumerate(loader(SINGLE_PROCESS).batches(3)):
        parts = [Processes(rank, size).shard(len(labels)) for rank in range(size)]
        counted = [rank for rank, part in enumerate(parts) if part.stop > part.start]
        assert torch.equal(torch.cat([everyone[rank][number][1] for rank in counted]), labels)
        assert torch.allclose(torch.cat([everyone[rank][number][0] for rank in counted]), pictures, atol=1e-3)
        for rank in set(range(size)) - set(counted):  # it joins with one picture that does not count
            assert len(everyone[rank][number][1]) == 1


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="which pages were touched is read as Linux tells it")
def test_each_process_reads_only_its_share_of_pictures_in_a_file(tmp_path: Path) -> None:
    shape = (4000, 1, 64, 64)  # a page each
    np.lib.format.open_memmap(tmp_path / "pixels.npy", "w+", np.uint8, shape).flush()
    pixels = np.load(tmp_path / "pixels.npy", mmap_mode="r")
    for x, _ in Processes(1, 4).shard_loader(DataLoader((pixels, np.zeros(4000, np.int64)), 1000)).batches():
        assert not x.any()
    maps = Path("/proc/self/smaps").read_text().split(str(tmp_path / "pixels.npy"))[1:]
    touched = sum(int(re.search(r"Rss: +(\d+) kB", part)[1]) for part in maps)  # type: ignore[index]
    assert 3900 < touched < 1.1 * 4000  # of 16,000 kB


def test_losses_of_one_two_and_three_processes_agree(mnist_3v7: Dataset, tmp_path: Path) -> None:
    rows = []
    for processes in (1, 2, 3):
        out = tmp_path / str(processes)
        done = train(processes, out, "mnist-3v7", "--model", "net", "--epochs", 3, "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["run"] == str(out)  # said once
        assert json.loads((out / "environment.json").read_text())["processes"] == processes
        rows.append([line.split(",") for line in (out / "metrics.csv").read_text().splitlines()[1:]])
    for other in rows[1:]:
        for mine, its in zip(rows[0], other, strict=True):
            assert [float(v) for v in its[:3]] == pytest.approx([float(v) for v in mine[:3]], rel=1e-5)


ONE_HUNDRED_AND_ONE = """
    import dataclasses, json, sys
    import numpy as np
    import torch
    from underhood import read, build_model, Architecture, Learner, DataLoaders
    from underhood.core.loader import DataLoader
    from underhood.training.distributed import init_distributed

    with init_distributed("cpu") as processes:
        data = read("digits")
        data = dataclasses.replace(data, train=data.train.take(np.arange(101)), valid=data.valid.take(np.arange(101)))
        torch.manual_seed(0)
        model = build_model(Architecture("net", 1, 8, 8, 10))
        dls = DataLoaders.from_dataset(data, batch_size=50)  # the last batch is one image
        processes.shard_loader(dls.train)
        dls.valid = DataLoader(data.valid, 16)
        learn = Learner(dls, model, processes=processes)
        learn.forward = processes.wrap(model)
        before = learn.validate()
        rows = list(learn.epochs(3, 0.01))
        mine = range(processes.rank, len(dls.valid), processes.world_size)
        counted = torch.tensor(sum(dls.valid.items_in(number) for number in mine))
        processes.sum(counted)
        if processes.is_main:
            print(json.dumps([before, learn.recorder.losses, len(rows), round(before[1] * 101), int(counted)]))
"""


def test_validation_counts_each_of_101_pictures_once_on_any_number_of_processes(tmp_path: Path) -> None:
    script = write_script(tmp_path / "script.py", ONE_HUNDRED_AND_ONE)
    results = []
    for processes in (1, 2, 3):
        done = torchrun(processes, script)
        assert done.returncode == 0, done.stderr
        results.append(json.loads(done.stdout))
    (before, losses, *counts), *others = results
    assert counts[2] == 101
    for other_before, other_losses, *other_counts in others:
        assert other_before == before  # to the last digit: before training, all have the same weights
        assert other_losses == pytest.approx(losses, rel=1e-5)
        assert other_counts == counts


def test_a_process_that_fails_ends_all_with_its_message(tmp_path: Path) -> None:
    script = write_script(
        tmp_path / "script.py",
        """
        import os
        from underhood.cli import main
        from underhood.core.errors import UnderhoodError
        from underhood.core.learner import Learner

        validate = Learner.validate
        def fails(self, *a):
            if os.environ["RANK"] == "1":
                raise UnderhoodError("the second has had enough")
            return validate(self, *a)
        Learner.validate = fails
        main()
        """,
    )
    done = torchrun(2, script, "train", "--model", "net", "--out", tmp_path / "run", timeout=60)
    assert done.returncode != 0
    assert "error: the second has had enough" in done.stderr
    assert "Traceback" not in done.stderr.split("torch.distributed.elastic")[0].split("E1")[0]


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "own_store"), [(2, "0"), (3, "1")])  # three numbers have more than one order
def test_a_killed_process_brings_the_run_back_from_its_last_state(
    processes: int, own_store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(STORE_VARIABLE, own_store)
    flags = ("train", "--model", "net", "--epochs", 3, "--batch-size", 48, "--save-every", 0, "--no-report")
    script = write_script(
        tmp_path / "script.py",
        """
        import os, signal
        from underhood.cli import main
        from underhood.core.learner import Learner

        steps = Learner.steps
        def dies(self, *a):
            for step in steps(self, *a):
                if step.number == 40 and os.environ["RANK"] == "1" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
                    os.kill(os.getpid(), signal.SIGKILL)
                yield step
        Learner.steps = dies
        main()
        """,
    )
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert train(processes, whole, *flags[1:]).returncode == 0
    done = torchrun(processes, script, *flags, "--out", broken, restarts=3)
    assert done.returncode == 0, done.stderr
    assert "resumes after step" in (broken / "log.txt").read_text()
    for name in SAME:
        assert (whole / name).read_bytes() == (broken / name).read_bytes()


def test_a_worker_started_again_without_a_record_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was killed before config.json was there: what it left in the folder is only its lock."""
    from underhood import train as train_here

    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "1")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").touch()
    (tmp_path / "run" / ".config.json.part").touch()
    assert train_here("digits", model="linear", epochs=1, out=tmp_path / "run")["epochs"] == 1
    assert train_here("digits", model="linear", epochs=1, out=tmp_path / "run") == {
        "run": str(tmp_path / "run"), "finished": True
    }  # fmt: skip


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"WORLD_SIZE": "2"}, "RANK, MASTER_ADDR, MASTER_PORT"),
        ({"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1"}, "MASTER_PORT"),
        ({"WORLD_SIZE": "two", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}, "WORLD_SIZE"),
        ({"WORLD_SIZE": "2", "RANK": "one", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}, "RANK"),
        ({"WORLD_SIZE": "2", "RANK": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}, "process RANK"),
        ({"WORLD_SIZE": "", "RANK": "0"}, "WORLD_SIZE"),
    ],
)
def test_an_incomplete_environment_of_several_processes_is_one_line(
    variables: dict[str, str], named: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UnderhoodError, match=f"{named}.*: start several processes with torchrun, or unset WORLD_SIZE$"):
        underhood.train("digits", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_process_that_cannot_reach_the_main_one_says_what_to_check(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "no-such-machine.invalid", "MASTER_PORT": "29517"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("torch.distributed.distributed_c10d.default_pg_timeout", timedelta(seconds=1))
    with (
        pytest.raises(
            UnderhoodError, match=r"^process 1 on .* process 0, which writes .* on no-such-machine"
        ) as failed,
        init_distributed("cpu"),
    ):
        raise AssertionError("it is not connected")
    assert "\n" not in str(failed.value)
    assert all(name in str(failed.value) for name in ("GLOO_SOCKET_IFNAME", STORE_VARIABLE, "docs/scaling.md"))


SEVERAL = {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "one", "MASTER_PORT": "1", "GROUP_WORLD_SIZE": "2"}


def test_restarts_on_several_machines_with_addresses_of_dead_processes_are_refused_at_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    environment = SEVERAL | {"TORCHELASTIC_MAX_RESTARTS": "3", "TORCHELASTIC_USE_AGENT_STORE": "True"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UnderhoodError, match=f"--max-restarts .*{STORE_VARIABLE}=1"), init_distributed("cpu"):
        raise AssertionError("it is not connected")


@pytest.mark.parametrize("address", ["127.0.1.1", "::1", None])
def test_a_name_that_other_machines_cannot_reach_is_refused_at_the_start(
    address: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def resolve(*_: object) -> list[tuple[object, ...]]:
        if address is None:
            raise socket.gaierror(-2, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0))]

    for name, value in SEVERAL.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(socket, "gethostname", lambda: "debian")
    monkeypatch.setattr(socket, "if_nameindex", lambda: [(1, "lo"), (2, "enp3s0")])
    with (
        pytest.raises(UnderhoodError, match=r"reach debian at .*export GLOO_SOCKET_IFNAME.*\(enp3s0\)"),
        init_distributed(),
    ):
        raise AssertionError("it is not connected")


OTHERS: list[dict[str, Any]] = [
    {"data": "small"}, {"seed": 1}, {"epochs": 2}, {"epochs": None}, {"model": "net"}, {"limit": 90}, {"report": True},
]  # fmt: skip


@pytest.mark.parametrize("other", OTHERS, ids=str)
@pytest.mark.parametrize("ended", [False, True], ids=["interrupted", "finished"])
def test_torchrun_never_goes_on_with_the_run_of_another_request(
    other: dict[str, Any], ended: bool, small_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {"data": "digits", "model": "linear", "epochs": 1, "limit": 100, "report": False}
    run = tmp_path / "run"
    underhood.train(**asked, out=run)
    if not ended:
        (run / "predictions.csv").unlink()
        assert load_state(run)
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "3")
    if other.get("data"):
        other = {"data": small_folder}
    (name,) = other
    with pytest.raises(RunError, match=rf"run holds a run with {name} .*, not .*: choose another folder with --out"):
        underhood.train(**(asked | other), out=run)
    assert before == {path.name: path.read_bytes() for path in run.iterdir()}
    assert underhood.train(**asked, out=run)  # its own request goes on


def test_a_folder_that_holds_another_run_is_refused_at_each_restart(tmp_path: Path) -> None:
    underhood.train("digits", model="linear", epochs=1, limit=100, report=False, out=tmp_path / "run")
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    done = train(1, tmp_path / "run", "digits", "--model", "net", "--epochs", 1, "--limit", 100, restarts=1)
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 2  # once, and once more after its restart
    assert all("holds a run with model linear, not net" in line for line in lines)
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}


OWN_DATA = """
    import os, sys
    from underhood.cli import main
    sys.argv[sys.argv.index("DATA")] = sys.argv[1] if os.environ["RANK"] == "0" else sys.argv[2]
    del sys.argv[1:3]
    main()
"""


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda other: (other / "dark").rename(other / "grey"), "process 1 on .* has other classes (grey, light)"),
        (lambda other: (other / "dark/3.png").unlink(), "process 1 on .* has other numbers of train images"),
        (lambda other: picture(77).save(other / "dark/3.png"), "process 1 on .* has other (train|valid) images"),
        (lambda other: (other / "dark/3.png").write_bytes(b"no"), "process 1 on .* cannot read its images: 1 image"),
        (lambda other: shutil.rmtree(other), "process 1 on .* cannot read its images: unknown data"),
    ],
    ids=["classes", "missing", "pixels", "damaged", "gone"],
)
def test_processes_whose_images_differ_end_before_the_first_step_with_one_line(
    change: Callable[[Path], object], named: str, small_folder: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(small_folder, tmp_path / "there" / "small")
    change(other)
    script = write_script(tmp_path / "script.py", OWN_DATA)
    done = torchrun(2, script, small_folder, other, "train", "DATA", "--model", "linear", "--out", tmp_path / "run")
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert any(re.search(named.replace("(grey, light)", r"\(grey, light\)"), line) for line in lines), done.stderr
    assert "underhood/jobs/train.py" not in done.stderr  # no traceback but torchrun's own
    assert not (tmp_path / "run").exists()
