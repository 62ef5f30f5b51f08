"""``underhood --help``, and ``underhood train --no-report`` on the digits, against ``python -c "import torch"``.

Goals: at most a fifth of its time; at most three times.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from measure import in_turn, report, summary

UNDERHOOD = Path(sys.executable).with_name("underhood")
N = 7


def main() -> int:
    with tempfile.TemporaryDirectory() as place:

        def run(*command: object) -> None:
            subprocess.run(list(map(str, command)), stdout=subprocess.DEVNULL, check=True, cwd=place)

        seconds = in_turn(
            N,
            help=lambda: run(UNDERHOOD, "--help"),
            train=lambda: run(UNDERHOOD, "train", "--no-report"),
            torch=lambda: run(sys.executable, "-c", "import torch"),
        )
    help_, train, torch = (median(values) for values in seconds.values())
    return report(N, {"help": (help_ / torch, 0.2), "train": (train / torch, 3.0)}, **summary(**seconds))


if __name__ == "__main__":
    sys.exit(main())
