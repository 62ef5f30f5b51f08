"""The time of saving states, as a fraction of runs of over 30 s: the goal is at most 2 %.

Two runs: vgg, with a state of 3.6 MB, on MNIST for two epochs; and resnet18, with a state of 134 MB, on 1,438 digits,
whose epochs are so short that not every one is saved.
"""

import sys
import tempfile
import time
from pathlib import Path
from statistics import mean

from measure import report

from underhood import train
from underhood.training import run

GOAL = 0.02
RUNS = {
    "vgg": ("mnist", {"model": "vgg", "epochs": 2}),
    "resnet18": ("digits", {"model": "resnet18", "epochs": 30}),
}


def main() -> int:
    save, spent = run.save_state, []

    def timed(*arguments: object) -> None:
        start = time.perf_counter()
        save(*arguments)  # type: ignore[arg-type]
        spent.append(time.perf_counter() - start)

    run.save_state = timed  # type: ignore[assignment]
    ratios, figures = {}, {}
    with tempfile.TemporaryDirectory() as place:
        for name, (data, options) in RUNS.items():
            spent.clear()
            start = time.perf_counter()
            train(data, out=Path(place) / name, **options)
            seconds = time.perf_counter() - start
            ratios[name] = (sum(spent) / seconds, GOAL)
            figures |= {f"{name}_seconds": round(seconds, 1), f"{name}_states": len(spent)}
            figures[f"{name}_each"] = round(mean(spent), 4)
    return report(1, ratios, **figures)


if __name__ == "__main__":
    sys.exit(main())
