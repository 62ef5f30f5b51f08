"""Two machines train one model: two network namespaces joined by a virtual cable, each with its own name and disk.

The commands are those of docs/scaling.md. Skipped where this machine does not allow namespaces.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from conftest import fill

SAME = ("weights.safetensors", "metrics.csv", "predictions.csv", "steps.csv", "layers.csv")
FLAGS = ("--model", "net", "--epochs", "3", "--batch-size", "32", "--limit", "400", "--save-every", "0", "--no-report")
USER = () if os.geteuid() == 0 else ("--user", "--preserve-credentials")
DEADLINE = 150  # seconds for a training on both, of which most are imports


class Machine:
    """A network, a name and a disk of its own: what is below ``place`` is on this machine alone."""

    def __init__(self, number: int, holder: "subprocess.Popen[bytes]", disk: Path):
        self.number, self.name, self.disk, self.holder = number, ("one", "two")[number], disk, holder.pid
        self.enter = ("nsenter", "--target", str(holder.pid), "--net", "--mount", "--uts", *USER)

    def call(self, *command: object) -> None:
        subprocess.run([*self.enter, *map(str, command)], check=True, capture_output=True, text=True, timeout=30)

    def kill_all(self) -> None:
        """What the loss of the machine does to its processes."""
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                here = os.readlink(folder / "ns/net") == os.readlink(f"/proc/{self.holder}/ns/net")  # noqa: PTH115
                if here and int(folder.name) != self.holder:
                    os.kill(int(folder.name), signal.SIGKILL)

    def start(self, *command: object, nproc: int = 2, restarts: int = 0, **variables: str) -> "subprocess.Popen[str]":
        launcher = ["torch.distributed.run", "--nnodes=2", f"--node-rank={self.number}", f"--nproc-per-node={nproc}"]
        launcher += ["--rdzv-backend=c10d", "--rdzv-endpoint=one:29500", f"--max-restarts={restarts}"]
        environment = os.environ | {
            "OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", "XDG_CACHE_HOME": str(self.disk),
        }  # fmt: skip
        return subprocess.Popen(
            [*self.enter, sys.executable, "-m", *launcher, *map(str, command)],
            env=environment | variables, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip


class Machines:
    """Both, and the folder ``place`` that each has on its own disk."""

    def __init__(self, one: Machine, two: Machine, place: Path):
        self.one, self.two, self.place = one, two, place

    def run(self, *command: object, **how: Any) -> list[tuple[int, str, str]]:
        """Start a command on both and wait: (exit code, stdout, stderr) of each."""
        return self.wait([machine.start(*command, **how) for machine in (self.one, self.two)])

    def wait(self, processes: "list[subprocess.Popen[str]]") -> list[tuple[int, str, str]]:
        try:
            ends = [process.communicate(timeout=DEADLINE) for process in processes]
        finally:
            for process in processes:
                process.kill()
        return [(process.returncode, *end) for process, end in zip(processes, ends, strict=True)]


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + DEADLINE
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.05)


def hold(stack: ExitStack, *command: str) -> "subprocess.Popen[bytes]":
    """A process that keeps new namespaces."""
    holder = stack.enter_context(subprocess.Popen([*command, "--net", "--mount", "--uts", "sleep", "3600"]))
    stack.callback(holder.kill)
    mine = os.readlink("/proc/self/ns/net")  # noqa: PTH115 (its text, not a path)
    for _ in range(100):
        if holder.poll() is None and Path(f"/proc/{holder.pid}/comm").read_text() == "sleep\n":
            assert os.readlink(f"/proc/{holder.pid}/ns/net") != mine  # noqa: PTH115
            return holder
        time.sleep(0.05)
    raise RuntimeError(f"unshare ended with {holder.poll()}")


def join(stack: ExitStack, root: Path) -> Machines:
    """Two machines joined by a cable. Raises OSError, RuntimeError or SubprocessError where that is not allowed."""
    first = hold(stack, "unshare", *(("--user", "--map-root-user") if USER else ()))
    enter = ("nsenter", "--target", str(first.pid), *USER) if USER else ()  # the cable needs both in one user namespace
    second = hold(stack, *enter, "unshare")
    hosts = root / "hosts"
    hosts.write_text("127.0.0.1 localhost\n10.77.0.1 one\n10.77.0.2 two\n")
    place = root / "place"
    place.mkdir()
    machines = []
    for number, holder in enumerate((first, second)):
        (root / f"disk-{number}").mkdir()
        machines.append(Machine(number, holder, place))
    one, two = machines
    one.call("ip", "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", str(second.pid))
    for machine in machines:
        machine.call("hostname", machine.name)
        machine.call("mount", "--bind", hosts, "/etc/hosts")
        machine.call("mount", "--bind", root / f"disk-{machine.number}", place)
        machine.call("ip", "address", "add", f"10.77.0.{machine.number + 1}/24", "dev", "cable")
        for device in ("lo", "cable"):
            machine.call("ip", "link", "set", device, "up")
    return Machines(one, two, place)


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    with ExitStack() as stack:
        try:
            both = join(stack, tmp_path_factory.mktemp("machines"))
        except (OSError, RuntimeError, subprocess.SubprocessError) as error:
            why = getattr(error, "stderr", None) or error
            pytest.skip(f"network namespaces cannot be made here: {why}")
        yield both
        for machine in (both.one, both.two):
            machine.kill_all()


TRAIN = ("-m", "underhood", "train", "digits", *FLAGS)


@pytest.fixture(scope="module")
def whole(machines: Machines) -> Path:
    """An uninterrupted run of both."""
    (code, out, err), (other_code, other_out, other_err) = machines.run(*TRAIN, "--out", machines.place / "whole")
    assert (code, other_code) == (0, 0), err + other_err
    assert "4 processes" in out
    assert other_out == "process 0 is on one: it prints the table and writes the run\n"
    disk = machines.place.parent
    assert (disk / "disk-0" / "whole" / "predictions.csv").exists()
    assert not (disk / "disk-1" / "whole").exists()
    return disk / "disk-0" / "whole"


def same_bytes(one: Path, other: Path) -> bool:
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in SAME)


def rows(run: Path) -> list[list[float]]:
    """Epoch and losses."""
    lines = (run / "metrics.csv").read_text().splitlines()[1:]
    return [[float(value) for value in line.split(",")[:3]] for line in lines]


@pytest.mark.slow
def test_losses_of_two_machines_are_those_of_one_process(whole: Path, tmp_path: Path) -> None:
    command = [sys.executable, *TRAIN, "--out", str(tmp_path / "run")]
    subprocess.run(command, check=True, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    for mine, its in zip(rows(tmp_path / "run"), rows(whole), strict=True):
        assert its == pytest.approx(mine, rel=1e-5)


# At step 12 something happens, once: some processes are killed, or the main one waits until the cable is cut.
EVENTS = """
import os, signal, sys, time
from pathlib import Path
from underhood.cli import main
from underhood.core.learner import Learner

flags, *killed = Path(sys.argv[1]), *sys.argv[2].split()
del sys.argv[1:3]
steps = Learner.steps
def watched(self, *a):
    for step in steps(self, *a):
        mine = flags / os.environ["RANK"]
        if step.number == 12 and not mine.exists():
            mine.touch()
            if os.environ["RANK"] in killed:
                os.kill(os.getpid(), signal.SIGKILL)
            while os.environ["RANK"] == "0" and "wait" in killed and not (flags / "go").exists():
                time.sleep(0.05)
        yield step
Learner.steps = watched
main()
"""


def events(tmp_path: Path, what: str, out: Path) -> tuple[object, ...]:
    """A command in which this happens at step 12."""
    (tmp_path / "script.py").write_text(EVENTS)
    return (tmp_path / "script.py", tmp_path, what, *TRAIN[2:], "--out", out)


@pytest.mark.slow
def test_class_folders_that_differ_are_one_line_that_names_the_machine(machines: Machines) -> None:
    disks = [machines.place.parent / f"disk-{number}" for number in (0, 1)]
    for disk, names in zip(disks, (("cat", "dog"), ("cat", "horse")), strict=True):
        fill(disk / "pets", {f"{name}/{i}.png": 100 * place + i for place, name in enumerate(names) for i in range(10)})
    pets = ("-m", "underhood", "train", machines.place / "pets", "--model", "linear", "--out", machines.place / "run")
    said = "error: process 1 on two has other classes (cat, horse) than process 0 on one (cat, dog): all machines need"
    for code, _, err in machines.run(*pets, nproc=1):
        assert code == 1
        assert said in err, err
    assert not (disks[0] / "run").exists()


@pytest.mark.slow
def test_debians_loopback_name_is_refused_and_the_named_interface_works(machines: Machines) -> None:
    flags = (*TRAIN, "--epochs", "1", "--out", machines.place / "debian")
    disk = machines.place.parent
    (disk / "hosts-0").write_text("127.0.0.1 localhost\n127.0.1.1 one\n10.77.0.2 two\n")
    (disk / "hosts-1").write_text("127.0.0.1 localhost\n127.0.1.1 two\n10.77.0.1 one\n")
    for machine in (machines.one, machines.two):
        machine.call("mount", "--bind", disk / f"hosts-{machine.number}", "/etc/hosts")
    try:
        (code, _, err), (other_code, _, other_err) = machines.run(*flags, nproc=1)
        assert (code, other_code) == (1, 1)
        assert "error: other machines cannot reach one at 127.0.1.1: export GLOO_SOCKET_IFNAME" in err
        assert "error: other machines cannot reach two at 127.0.1.1: export GLOO_SOCKET_IFNAME" in other_err
        assert "(cable)" in err
        assert not (disk / "disk-0" / "debian").exists()
        (code, _, err), (other_code, _, other_err) = machines.run(*flags, nproc=1, GLOO_SOCKET_IFNAME="cable")
        assert (code, other_code) == (0, 0), err + other_err
    finally:
        for machine in (machines.one, machines.two):
            machine.call("umount", "/etc/hosts")


@pytest.mark.slow
@pytest.mark.parametrize("killed", ["0", "3", "2 3"], ids=["first", "second", "all-of-the-second"])
def test_killed_workers_of_either_machine_are_started_again_and_the_run_ends_in_the_same_bytes(
    killed: str, machines: Machines, whole: Path, tmp_path: Path
) -> None:
    out = f"killed-{killed.replace(' ', '-')}"
    (code, _, err), (other_code, _, other_err) = machines.run(
        *events(tmp_path, killed, machines.place / out), restarts=1
    )
    assert (code, other_code) == (0, 0), err + other_err
    assert "resumes after step" in (whole.parent / out / "log.txt").read_text()
    assert same_bytes(whole, whole.parent / out)


@pytest.mark.slow
def test_a_cable_cut_for_15_seconds_changes_no_byte(machines: Machines, whole: Path, tmp_path: Path) -> None:
    command = events(tmp_path, "wait", machines.place / "cut")
    processes = [machine.start(*command, restarts=1) for machine in (machines.one, machines.two)]
    wait_for(tmp_path / "0")
    machines.one.call("ip", "link", "set", "cable", "down")
    (tmp_path / "go").touch()
    time.sleep(15)
    machines.one.call("ip", "link", "set", "cable", "up")
    (code, _, err), (other_code, _, other_err) = machines.wait(processes)
    assert (code, other_code) == (0, 0), err + other_err
    assert same_bytes(whole, whole.parent / "cut")


@pytest.mark.slow
def test_after_the_loss_of_the_first_machine_the_same_command_goes_on(
    machines: Machines, whole: Path, tmp_path: Path
) -> None:
    command = events(tmp_path, "wait", machines.place / "lost")
    processes = [machine.start(*command, restarts=1) for machine in (machines.one, machines.two)]
    wait_for(tmp_path / "0")
    machines.one.kill_all()
    (_, (other_code, _, _)) = machines.wait(processes)
    assert other_code != 0
    (tmp_path / "go").touch()
    (code, _, err), (other_code, _, other_err) = machines.run(*command, restarts=1)
    assert (code, other_code) == (0, 0), err + other_err
    assert "resumes after step" in (whole.parent / "lost" / "log.txt").read_text()
    assert same_bytes(whole, whole.parent / "lost")
