"""Training and serving beside other work: one busy neighbour (a Python loop), or a second training.

Each command runs in a process of its own, idle and busy in turn; seconds are those of the training alone. "Old"
(``FIRST_EDITION``) is what PyTorch does by itself: threads wait awake for 300,000 turns, wherever Linux puts them.
docs/performance.md explains the figures. RUNS=n changes how often; ONLY=digits,two picks rows.
"""

import asyncio
import contextlib
import io
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, median

from measure import report, summary

N = int(os.environ.get("RUNS", 5))
FIRST_EDITION = {"GOMP_SPINCOUNT": "300000", "OMP_PROC_BIND": "false", "OMP_NUM_THREADS": str(os.cpu_count())}
FAST = ("mnist", "--effort", "fast")
SHORT = {  # idle, new over old: what keeps both cores
    "digits": ("digits",),
    "mnist_fast": FAST,
    "mnist": ("mnist",),
    "vgg": ("mnist", "--model", "vgg", "--limit", "6000", "--epochs", "1"),
    "resnet18": ("mnist", "--model", "resnet18", "--limit", "1500", "--epochs", "1"),
}
BARE = """
import sys, time, torch, torch.nn.functional as F
x, y, x_valid, y_valid = torch.load(sys.argv[1])
model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 30), torch.nn.ReLU(), torch.nn.Linear(30, 2))
optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
start = time.perf_counter()
for epoch in range(20):
    order = torch.randperm(len(x))
    for first in range(0, len(x), 256):
        rows = order[first : first + 256]
        loss = F.cross_entropy(model(x[rows] / 127.5 - 1), y[rows])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    with torch.inference_mode():
        right = (model(x_valid / 127.5 - 1).argmax(1) == y_valid).double().mean().item()
print(time.perf_counter() - start)
"""  # what a reader of PyTorch's tutorial writes; the images are floats, as there
NET = ("mnist-3v7", "--model", "net", "--epochs", "20", "--batch-size", "256")


@contextlib.contextmanager
def neighbour() -> Iterator[None]:
    """A process that is busy for the length of a ``with`` block."""
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        busy.kill()
        busy.wait()


def start(arguments: tuple[str, ...], place: str, cpus: set[int] | None = None, **environment: str) -> subprocess.Popen:
    """Start ``underhood train``. cpus: the only ones that it may use."""
    command = [sys.executable, "-m", "underhood", "train", *arguments, "--json", "--no-report", "--out", place]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=os.environ | environment,
        preexec_fn=(lambda: os.sched_setaffinity(0, cpus)) if cpus else None,
    )  # fmt: skip


def seconds_of(process: subprocess.Popen) -> float:
    """Seconds of the training alone, once the process has ended."""
    out, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"{process.args} failed with {process.returncode}")
    return json.loads(out)["seconds"]


def train(*arguments: str, cpus: set[int] | None = None, **environment: str) -> float:
    with tempfile.TemporaryDirectory() as place:
        return seconds_of(start(arguments, f"{place}/run", cpus, **environment))


def busy(function, *arguments: str, **options) -> float:
    with neighbour():
        return function(*arguments, **options)


def two_at_once() -> float:
    """Seconds of each of two trainings that start together: their mean."""
    with tempfile.TemporaryDirectory() as place:
        both = [start(FAST, f"{place}/{number}") for number in range(2)]
        return mean(map(seconds_of, both))


def bare(data: Path) -> float:
    """Seconds of a plain PyTorch loop that does the work of ``NET``."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    done = subprocess.run([sys.executable, "-c", BARE, data], env=clean, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout)


def script(name: str, **environment: str) -> float:
    """Seconds of ``Learner.fit`` (loop) or of ten iterations of chapter 11's long job (book_job)."""
    done = subprocess.run(
        [sys.executable, __file__, name], env=os.environ | environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return float(done.stdout)


def loop() -> float:
    from underhood import Architecture, DataLoaders, Learner, accuracy, build_model, read

    data = read("mnist-3v7")
    learn = Learner(
        DataLoaders.from_dataset(data, 256), build_model(Architecture("net", 1, 28, 28, 2)), metrics=accuracy
    )
    with contextlib.redirect_stdout(io.StringIO()):
        learn.fit(1, 0.001)
        begin = time.perf_counter()
        learn.fit(20, 0.001)
    return time.perf_counter() - begin


def book_job() -> float:
    from underhood import read
    from underhood.books.elixir import Job, chapter11_weights, iterations

    steps = iterations(Job(read("mnist")), *chapter11_weights(), 0.01, 10**6)
    next(steps)
    begin = time.perf_counter()
    for _ in range(10):
        next(steps)
    return time.perf_counter() - begin


def serve_p99() -> dict[str, list[float]]:
    """p99 in ms of an exported run's answers, 20 connections, idle and busy in turn."""
    from serve import digit_pngs, load, ours

    from underhood import export, train as train_here

    images = digit_pngs()
    found: dict[str, list[float]] = {"serve_idle": [], "serve_busy": []}
    with tempfile.TemporaryDirectory() as place:
        run = train_here("mnist", epochs=1, limit=2000, out=Path(place) / "run", report=False)["run"]
        export(run)
        server = multiprocessing.get_context("spawn").Process(target=ours, args=("ours", run, 8240))
        server.start()
        time.sleep(8)
        for turn in range(N + 1):
            for name, context in (("serve_idle", contextlib.nullcontext()), ("serve_busy", neighbour())):
                with context:
                    p99 = asyncio.run(load(8240, images, 20, 4))["p99"]
                if turn:  # the first does not count
                    found[name].append(p99)
        server.terminate()
        server.join()
    return found


def in_turn(found: dict[str, list[float]], n: int = N, **functions) -> None:
    """Call each function n times, alternating, and add what it returns to its name's list."""
    for _ in range(n):
        for name, function in functions.items():
            found.setdefault(name, []).append(function())


def measure(only: set[str]) -> tuple[dict[str, list[float]], dict[str, tuple[float, float]]]:
    """(seconds by name, ratios with their limits)."""
    found: dict[str, list[float]] = {}
    ratios: dict[str, tuple[float, float]] = {}

    def ratio(name: str, over: str, under: str, limit: float) -> None:
        ratios[name] = median(found[over]) / median(found[under]), limit
        print(f"{name:20} {ratios[name][0]:7.3f}  limit {limit}", file=sys.stderr, flush=True)

    if "digits" in only:
        in_turn(found, digits_idle=lambda: train("digits"), digits_busy=lambda: busy(train, "digits"))
        ratio("digits", "digits_busy", "digits_idle", 3.5)
    if "fast" in only:
        in_turn(found, fast_idle=lambda: train(*FAST), fast_busy=lambda: busy(train, *FAST))
        ratio("fast", "fast_busy", "fast_idle", 3.3)
    if "two" in only:
        in_turn(found, one=lambda: train(*FAST), two=two_at_once)
        ratio("two", "two", "one", 3)
    if "bare" in only:
        with tempfile.TemporaryDirectory() as place:
            import torch

            from underhood import read

            data, file = read("mnist-3v7"), Path(place) / "data.pt"
            parts = [(torch.from_numpy(a.pixels).float(), torch.from_numpy(a.labels)) for a in (data.train, data.valid)]
            torch.save([*parts[0], *parts[1]], file)
            in_turn(found, net_busy=lambda: busy(train, *NET), bare_busy=lambda: busy(bare, file))
        ratio("bare", "net_busy", "bare_busy", 0.2)
    if "quota" in only:
        in_turn(found, one_cpu=lambda: train("digits", cpus={0}), one_thread=lambda: train("digits", "--threads", "1"))
        ratio("quota", "one_cpu", "one_thread", 1.1)
    if "serve" in only:
        found |= serve_p99()
        ratio("serve", "serve_busy", "serve_idle", 5)
    if "idle" in only:
        for name, arguments in SHORT.items():
            new, old = f"{name}_new", f"{name}_old"
            functions = {new: lambda a=arguments: train(*a), old: lambda a=arguments: train(*a, **FIRST_EDITION)}
            in_turn(found, **functions)
            ratio(f"idle_{name}", new, old, 1.05)
        for name in ("loop", "book_job"):
            functions = {
                f"{name}_new": lambda s=name: script(s),
                f"{name}_old": lambda s=name: script(s, **FIRST_EDITION),
            }
            in_turn(found, **functions)
            ratio(f"idle_{name}", f"{name}_new", f"{name}_old", 1.05)
    return found, ratios


def main() -> int:
    if len(sys.argv) > 1:
        print({"loop": loop, "book_job": book_job}[sys.argv[1]]())
        return 0
    only = os.environ.get("ONLY", "digits,fast,two,bare,quota,serve,idle")
    found, ratios = measure(set(only.split(",")))
    return report(N, ratios, **summary(**found))


if __name__ == "__main__":
    sys.exit(main())
