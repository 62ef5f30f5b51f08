"""The peak memory of ``underhood train mnist``, minus that of importing torch.

Goal: at most 1.5 times the training images as float32, 188 MB. The peak of the resident set, as the system counts it.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import mean

from measure import report, summary

UNDERHOOD = Path(sys.executable).with_name("underhood")
FLOATS = 60_000 * 28 * 28 * 4 / 1e6  # MB
N = 5


def peak(*command: object) -> float:
    """The peak memory of a command, in MB."""
    with tempfile.TemporaryDirectory() as place:
        child = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, cwd=place)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{command} failed with {child.returncode}")
    return usage.ru_maxrss * 1024 / 1e6


def main() -> int:
    idle, ours = [], []
    for _ in range(N):
        idle.append(peak(sys.executable, "-c", "import torch"))
        ours.append(peak(UNDERHOOD, "train", "mnist"))
    above = mean(ours) - mean(idle)
    return report(N, {"floats": (above / FLOATS, 1.5)}, **summary(idle=idle, ours=ours), above=round(above, 1))


if __name__ == "__main__":
    sys.exit(main())
