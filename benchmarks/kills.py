"""Runs killed with SIGKILL at random moments and resumed to their end have the bytes of an uninterrupted run.

The state is saved after each step. Every other kill waits until a file is being written. ``ratio`` is the fraction of
runs that ended in different bytes; the goal is none.
"""

import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import report

KILLS = 100
FILES = ("weights.safetensors", "metrics.csv", "predictions.csv", "layers.csv")
UNDERHOOD = [sys.executable, "-m", "underhood", "train"]
FLAGS = ["--model", "conv", "--epochs", "4", "--batch-size", "64", "--save-every", "0"]


def killed(command: list[str], after: float, aimed: bool) -> tuple[bool, bool]:
    """Start a command and kill it ``after`` seconds: (whether it was still running, whether it was writing a file)."""
    folder = command[-1]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        time.sleep(after)
        while aimed and process.poll() is None and not is_writing(folder):
            pass
        alive = process.poll() is None
        process.kill()
    return alive, is_writing(folder)


def is_writing(folder: str) -> bool:
    return os.path.isdir(folder) and any(name.endswith(".part") for name in os.listdir(folder))  # noqa: PTH112, PTH208


def main() -> int:
    moments = random.Random(0)
    with tempfile.TemporaryDirectory() as place:
        whole = Path(place) / "whole"
        start = time.perf_counter()
        subprocess.run([*UNDERHOOD, *FLAGS, "--out", str(whole)], stdout=subprocess.DEVNULL, check=True)
        duration = time.perf_counter() - start
        kills = writing = runs = other = 0
        while kills < KILLS:
            run = Path(place) / str(runs)
            runs += 1
            command = [*UNDERHOOD, *FLAGS, "--out", str(run)]
            for _ in range(moments.randint(1, 5)):
                alive, part = killed(command, moments.uniform(0.2, duration), aimed=kills % 2 == 1)
                kills, writing = kills + alive, writing + part
                if (run / "config.json").exists():
                    command = [*UNDERHOOD, "--resume", str(run)]
            done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
            same = done.returncode == 0
            same = same and all((whole / name).read_bytes() == (run / name).read_bytes() for name in FILES)
            other += not same
            print(f"run {runs}: {kills} kills so far, {writing} while writing; {'same' if same else 'OTHER'} bytes")
    return report(kills, {"other": (other / runs, 0.0)}, runs=runs, while_writing=writing)


if __name__ == "__main__":
    sys.exit(main())
