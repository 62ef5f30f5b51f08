"""Several processes train one model: the same losses, each picture counted once, and none left behind."""

import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from underhood.core.augment import Augmentation
from underhood.core.images import Dataset
from underhood.core.loader import DataLoader
from underhood.training.distributed import SINGLE_PROCESS, Processes

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


def test_a_killed_process_brings_the_run_back_from_its_last_state(tmp_path: Path) -> None:
    flags = ("train", "--model", "net", "--epochs", 3, "--batch-size", 16, "--save-every", 0)
    script = write_script(
        tmp_path / "script.py",
        """
        import os, signal
        from underhood.cli import main
        from underhood.core.learner import Learner

        steps = Learner.steps
        def dies(self, *a):
            for step in steps(self, *a):
                if step.number == 120 and os.environ["RANK"] == "1" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
                    os.kill(os.getpid(), signal.SIGKILL)
                yield step
        Learner.steps = dies
        main()
        """,
    )
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert train(2, whole, *flags[1:]).returncode == 0
    done = torchrun(2, script, *flags, "--out", broken, restarts=3)
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
