"""Each lesson in a process of its own, from its start until every cell has run, with MNIST, on one thread as
``underhood lessons`` sets it. Goal: under ten seconds."""

import json
import os
import subprocess
import sys
import time

from underhood.lessons import files

N = 3
RUN = "import runpy, sys; runpy.run_path(sys.argv[1])['app'].run()"


def main() -> int:
    seconds: dict[str, list[float]] = {file.stem: [] for file in files()}
    for _ in range(N):
        for file in files():
            start = time.perf_counter()
            subprocess.run(
                [sys.executable, "-c", RUN, file],
                check=True,
                env=os.environ | {"MPLBACKEND": "agg", "OMP_NUM_THREADS": "1"},
            )
            seconds[file.stem].append(time.perf_counter() - start)
    slowest = {name: round(max(values), 2) for name, values in seconds.items()}
    met = max(slowest.values()) < 10
    print(json.dumps({"n": N, "slowest": slowest, "met": met}))
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
