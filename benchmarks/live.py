"""What watching costs: ``--live`` with one reader of its stream, snapshots, and twenty readers for a minute.

The same training in turn: alone, with a page that a process reads, and without snapshots. Then ``conv`` for a minute
with twenty readers, one that never reads, and one that comes again and again: memory must stay flat.
What a browser takes to draw the page is measured apart, ``CHROMIUM=1``. RUNS=n changes how often.
"""

import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, closing
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

from measure import in_turn, report, summary

from underhood import train
from underhood.data.read import read
from underhood.live.server import LivePage, live_page
from underhood.live.view import TrainingView
from underhood.training import Reporter, Watcher
from underhood.training.snapshots import SnapshotRecorder

N = int(os.environ.get("RUNS", 7))
OPTIONS: dict[str, dict[str, Any]] = {"conv": {"model": "conv", "epochs": 2}, "net": {"model": "net", "epochs": 4}}
READ = "import sys, urllib.request\nfor _ in urllib.request.urlopen(sys.argv[1] + '/api/events'): pass"
LOOK = """import shutil, sys
from playwright.sync_api import sync_playwright
with sync_playwright() as p:
    page = p.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"]).new_page()
    page.goto(sys.argv[1])
    page.wait_for_selector("#mode:text('over')", timeout=600_000)
"""
MINUTE = float(os.environ.get("SECONDS", 60))


class Address(Reporter):
    def log(self, line: str) -> None:
        if line.startswith("live: "):
            self.address = line.split()[1]


def watched(options: dict[str, Any], reader: str, place: Path) -> None:
    with live_page(port=0, browser=False, reporter=(log := Address())) as page:
        process = subprocess.Popen([sys.executable, "-c", reader, log.address])
        while not page.hub.readers():
            time.sleep(0.01)
        _train(options, place, watcher=page)
    process.wait(20)


def _train(options: dict[str, Any], place: Path, watcher: Watcher | None = None, **more: Any) -> None:
    out = Path(tempfile.mkdtemp(dir=place))
    start = time.perf_counter()
    train("mnist", out=out, report=False, seed=0, watcher=watcher, **options, **more)
    SECONDS.append(time.perf_counter() - start)


SECONDS: list[float] = []  # of the trainings alone: starting the reader is not counted


def paired(place: Path, options: dict[str, Any], reader: str) -> dict[str, list[float]]:
    """Seconds of each training: alone, watched, and without snapshots, in turn."""
    SECONDS.clear()
    in_turn(
        N, alone=lambda: _train(options, place), live=lambda: watched(options, reader, place),
        without_snapshots=lambda: _train(options, place, snapshots=False),
    )  # fmt: skip
    return {name: SECONDS[3 + i :: 3] for i, name in enumerate(("alone", "live", "without_snapshots"))}


def shares(place: Path, options: dict[str, Any]) -> dict[str, float]:
    """What the training's own thread spends on the page and on snapshots, as fractions of the training's time.

    Where the machine's speed varies by more than what is measured, these say more than the ratios.
    """
    spent = dict.fromkeys(("live", "snapshots"), 0.0)

    def timed(kind: str, function: Any) -> Any:
        def call(*arguments: Any, **more: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*arguments, **more)
            finally:
                spent[kind] += time.perf_counter() - start

        return call

    with ExitStack() as patches:
        for kind, owner, names in (
            ("live", LivePage, ("after_step", "on_epoch_end")), ("live", TrainingView, ("start",)),
            ("snapshots", SnapshotRecorder, ("after_step", "save", "finish")),
        ):  # fmt: skip
            for name in names:
                patches.enter_context(patch.object(owner, name, timed(kind, getattr(owner, name))))
        SECONDS.clear()
        watched(options, READ, place)
    return {kind: round(seconds / SECONDS[0], 4) for kind, seconds in spent.items()}


def memory() -> float:
    """Megabytes that this process uses now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def a_minute(place: Path) -> list[float]:
    """Memory each five seconds while a training has twenty readers, a silent one, and one that comes and goes."""
    seen: list[float] = []
    with live_page(port=0, browser=False, reporter=(log := Address())) as page:
        host, port = log.address[7:].split(":")
        processes = [subprocess.Popen([sys.executable, "-c", READ, log.address]) for _ in range(20)]
        silent = socket.create_connection((host, int(port)))
        silent.sendall(f"GET /api/events HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())

        def measure() -> None:
            end = time.monotonic() + MINUTE
            while time.monotonic() < end:
                with closing(socket.create_connection((host, int(port)))) as comes:
                    comes.sendall(f"GET /api/events HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
                    comes.recv(1000)
                    time.sleep(MINUTE / 12)
                seen.append(round(memory(), 1))
            page.hub.ask({"action": "stop", "value": None})

        thread = threading.Thread(target=measure)
        thread.start()
        _train({"model": "conv", "epochs": 200}, place, watcher=page)
        thread.join()
        silent.close()
    codes = [process.wait(20) for process in processes]
    assert not any(codes), codes  # each has read to the end
    return seen


def main() -> int:
    read("mnist")
    ratios: dict[str, tuple[float, float]] = {}
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for name, options in OPTIONS.items():
            found = paired(place, options, READ)
            for what, over, goal in (("live", "alone", 1.05), ("alone", "without_snapshots", 1.02)):
                pairs = zip(found[what], found[over], strict=True)
                label = f"{name}_live" if what == "live" else f"{name}_snapshots"
                ratios[label] = (median(one / other for one, other in pairs), goal)
            figures |= {f"{name}_{key}": value for key, value in summary(**found).items()}
            figures |= {f"{name}_{kind}_share": value for kind, value in shares(place, options).items()}
        if os.environ.get("CHROMIUM"):
            found = paired(place, OPTIONS["conv"], LOOK)
            pairs = zip(found["live"], found["alone"], strict=True)
            figures["conv_chromium_ratio"] = round(median(one / other for one, other in pairs), 3)
        seen = a_minute(place)
        ratios["memory"] = (max(seen[6:]) / max(seen[2:6]), 1.05)
        figures["memory_mb"] = seen
    return report(N, ratios, **figures)


if __name__ == "__main__":
    sys.exit(main())
