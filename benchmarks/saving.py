"""What saving the state costs, of the time of runs over 30 s: the goal is at most 2 %.

Two runs: vgg, a state of 3.6 MB, on MNIST for two epochs, and resnet18, a state of 134 MB, on 1,438 digits, whose
epochs are so short that not each of them can be saved.
"""

import sys
import tempfile
import time
from pathlib import Path
from statistics import mean

from measure import report

import underhood.runs.checkpoint as states
from underhood import train

GOAL = 0.02
RUNS = {
    "vgg": ("mnist", {"model": "vgg", "epochs": 2}),
    "resnet18": ("digits", {"model": "resnet18", "epochs": 30}),
}


def main() -> int:
    save, spent = states.save_state, []

    def timed(*what: object) -> None:
        start = time.perf_counter()
        save(*what)  # type: ignore[arg-type]
        spent.append(time.perf_counter() - start)

    states.save_state = timed  # type: ignore[assignment]
    ratios, figures = {}, {}
    with tempfile.TemporaryDirectory() as place:
        for name, (data, asked) in RUNS.items():
            spent.clear()
            start = time.perf_counter()
            train(data, out=Path(place) / name, **asked)
            seconds = time.perf_counter() - start
            ratios[name] = (sum(spent) / seconds, GOAL)
            figures |= {f"{name}_seconds": round(seconds, 1), f"{name}_states": len(spent)}
            figures[f"{name}_each"] = round(mean(spent), 4)
    return report(1, ratios, **figures)


if __name__ == "__main__":
    sys.exit(main())
