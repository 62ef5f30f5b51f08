"""The panel: accuracy and time of whole commands, on photographs, clothes and digits; with the goals of each row.

Times are from the start to the end of the command, with ``--no-report`` and an empty cache for each. ``SEEDS=1`` runs
one seed of each row, ``ONLY=cifar`` the rows whose name contains it. ``UNDERHOOD_DATA/panel`` has the data. Then, on
hymenoptera: a head on frozen features against a bare PyTorch script with the same weights and size. Last, whether the
model that was chosen is as good as the best of those that could be trained for as long.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

from PIL import Image

HERE, PANEL = Path(__file__).parent, Path(os.environ.get("UNDERHOOD_DATA", "."), "panel")
ONLY, SEEDS = os.environ.get("ONLY", ""), int(os.environ.get("SEEDS", "3"))
WITHIN, OFTEN = 0.01, 0.8  # the chosen model is within a point of the best one, in this fraction of the cases


class Row(NamedTuple):
    """A command and its goals."""

    data: str
    flags: tuple[str, ...]
    accuracy: float  # at least
    seconds: float  # at most
    key: str = "valid_accuracy"


BEST = ("--effort", "best")
ROWS = [
    Row("hymenoptera", (), 0.935, 90),
    Row("hymenoptera", BEST, 0.95, 360),
    Row("cifar10-3000", (), 0.845, 240, "test_accuracy"),
    Row("cifar10-3000", ("--tune", "none", *BEST), 0.68, 600, "test_accuracy"),
    Row("fashion", (), 0.925, 240),
    Row("fashion", BEST, 0.945, 720),
    Row("mnist", ("--effort", "fast"), 0.991, 8),
    Row("mnist", (), 0.9945, 40),
    Row("mnist", BEST, 0.9975, 600),
    Row("digits", (), 0.985, 6),
    Row("250-digits", (), 0.955, 60, "accuracy"),  # on MNIST's 10,000
]
CANDIDATES = {
    "conv": ("--model", "conv"), "vgg": ("--model", "vgg"), "frozen": ("--tune", "head"), "tuned": ("--tune", "all"),
}  # fmt: skip
COMPARED = {  # data → the models whose training is within the budget of the normal effort
    "hymenoptera": ("conv", "vgg", "frozen"),
    "cifar10-3000": ("conv", "vgg", "frozen"),
    "fashion": ("conv", "vgg"),
    "250-digits": ("conv", "vgg", "frozen"),
}


def underhood(*arguments: object) -> tuple[dict[str, Any], float]:
    """The JSON that a command prints, and its seconds from start to end, with a cache of its own."""
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {"XDG_CACHE_HOME": cache}
        started = time.perf_counter()
        command = [sys.executable, "-m", "underhood", *map(str, arguments), "--json"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        seconds = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr}")
    return json.loads(done.stdout), seconds


def place(data: str, folder: Path) -> str | Path:
    """Where a data set is; the 250 digits, the first of MNIST's, are written as PNG files."""
    if data != "250-digits":
        return PANEL / data if (PANEL / data).exists() else data
    from underhood import read

    images = read("mnist").train
    for i in range(250):
        path = folder / "digits" / images.classes[images.labels[i]] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images.pixels[i, 0]).save(path)
    return folder / "digits"


def measure(row: Row, seed: int, folder: Path) -> tuple[float, float, dict[str, Any]]:
    """Train once: accuracy, seconds, and what ``train`` returned."""
    out = folder / f"{row.data}-{len(list(folder.iterdir()))}"
    result, seconds = underhood("train", place(row.data, folder), *row.flags, "--seed", seed, "--no-report",
                                "--out", out)  # fmt: skip
    found = underhood("evaluate", out, "mnist")[0] if row.key == "accuracy" else result
    return found[row.key], seconds, result


def commands(folder: Path) -> bool:
    """Print a line of a table for each row; whether all goals are met."""
    met = True
    print("| data, flags | accuracy, seeds | mean | goal | seconds | goal | model | met |\n" + "| --- " * 8 + "|")
    for row in ROWS:
        name = " ".join([row.data, *row.flags])
        if ONLY not in name:
            continue
        found = [measure(row, seed, folder) for seed in range(SEEDS)]
        accuracies, seconds = [one[0] for one in found], [one[1] for one in found]
        good = mean(accuracies) >= row.accuracy and mean(seconds) <= row.seconds
        met &= good
        each = ", ".join(f"{accuracy:.4f}" for accuracy in accuracies)
        print(f"| {name} | {each} | {mean(accuracies):.4f} | {row.accuracy} | {mean(seconds):.1f} | {row.seconds:g} | "
              f"{found[0][2]['model']} | {'yes' if good else 'no'} |", flush=True)  # fmt: skip
    return met


def head_against_bare(folder: Path) -> tuple[float, bool]:
    """A head on frozen features against a bare script, in turn: ratio of the times, and whether it is as accurate."""
    ours, theirs = [], []
    for seed in range(SEEDS):
        row = Row("hymenoptera", ("--model", "efficientnet_lite0", "--tune", "head"), 0, 0)
        ours.append(measure(row, seed, folder)[:2])
        started = time.perf_counter()
        command = [sys.executable, HERE / "bare_head.py", PANEL / "hymenoptera", str(seed)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        theirs.append((float(done.stdout.split()[-1]), time.perf_counter() - started))
    (accuracy, seconds), (bare, bare_seconds) = (tuple(map(mean, zip(*side, strict=True))) for side in (ours, theirs))
    print(f"a head: {accuracy:.4f} in {seconds:.1f} s; a bare script: {bare:.4f} in {bare_seconds:.1f} s", flush=True)
    return seconds / bare_seconds, accuracy >= bare


def chosen_against_best(folder: Path) -> float:
    """The fraction of the cases in which the chosen model is within a point of the best one on the validation part."""
    good = []
    for data, names in COMPARED.items():
        for seed in range(SEEDS):
            chosen = measure(Row(data, (), 0, 0), seed, folder)
            config = json.loads(Path(chosen[2]["run"], "config.json").read_text())
            moved = [] if config["augment"] is None else ["--augment", config["augment"]]
            moved += {None: [], True: ["--flip"], False: ["--no-flip"]}[config["flip"]]
            others = {
                name: measure(Row(data, (*CANDIDATES[name], *(moved if name in ("conv", "vgg") else ())), 0, 0), seed,
                              folder)[0] for name in names
            }  # fmt: skip
            good.append(chosen[0] >= max(others.values()) - WITHIN)
            print(f"{data}, seed {seed}: {chosen[2]['model']} {chosen[0]:.4f}; "
                  + ", ".join(f"{name} {accuracy:.4f}" for name, accuracy in others.items()), flush=True)  # fmt: skip
    return mean(good)


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        met = commands(Path(name))
        figures: dict[str, Any] = {}
        if ONLY in "head":
            figures["ratio"], as_accurate = head_against_bare(Path(name))
            met &= figures["ratio"] <= 1.0 and as_accurate
        if ONLY in "chosen":
            figures["chosen_within_a_point"] = chosen_against_best(Path(name))
            met &= figures["chosen_within_a_point"] >= OFTEN
    print(json.dumps({"n": SEEDS, **figures, "met": met}))
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
