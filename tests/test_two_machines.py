"""Two machines train one model: two network namespaces joined by a virtual cable, each with its own name and disk.

The commands are those of docs/scaling.md. Skipped where this machine does not allow namespaces.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from conftest import fill

SAME = ("weights.safetensors", "metrics.csv", "predictions.csv", "steps.csv", "layers.csv")
FLAGS = ("--model", "net", "--epochs", "3", "--batch-size", "32", "--limit", "400", "--save-every", "0", "--no-report")
USER = () if os.geteuid() == 0 else ("--user", "--preserve-credentials")
DEADLINE = 150  # seconds for a training on both, of which most are imports


class Machine:
    """A network, a name and a disk of its own: what is below ``place`` is on this machine alone."""

    def __init__(self, number: int, holder: "subprocess.Popen[bytes]", disk: Path):
        self.number, self.name, self.disk = number, ("one", "two")[number], disk
        self.enter = ("nsenter", "--target", str(holder.pid), "--net", "--mount", "--uts", *USER)

    def call(self, *command: object) -> None:
        subprocess.run([*self.enter, *map(str, command)], check=True, capture_output=True, text=True, timeout=30)

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

    def run(self, *command: object, **how: int) -> list[tuple[int, str, str]]:
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
