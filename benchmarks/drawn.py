"""Digits drawn on all kinds of paper (``tests/drawing.py``): the fraction classified right, and the time for one.

The model is trained on MNIST at normal effort. The goal is at least 97 % for each of two kinds: strokes from no data
set, and MNIST's own validation images, redrawn.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from drawing import PAPERS, drawn

from underhood import Predictor, read, train

GOAL = 0.97
N = 2000


def main() -> int:
    valid = read("mnist").valid
    figures, met = {}, True
    with tempfile.TemporaryDirectory() as place:
        predictor = Predictor.load(train("mnist", out=Path(place) / "run", report=False)["run"])
        for name, of in (("strokes", None), ("mnist", valid)):
            cases = [drawn(number, 7, of) for number in range(N)]
            start = time.perf_counter()
            labels, _ = predictor.predict([case.image for case in cases])
            milliseconds = 1000 * (time.perf_counter() - start) / N
            right = np.array([int(label) == case.digit for label, case in zip(labels, cases, strict=True)])
            figures[name] = round(float(right.mean()), 4)
            figures[f"{name}_ms_each"] = round(milliseconds, 2)
            for paper in PAPERS:
                figures[f"{name}_{paper}"] = round(float(right[[case.paper == paper for case in cases]].mean()), 4)
            met &= bool(right.mean() >= GOAL)
    print(json.dumps({"n": N, **figures, "goal": GOAL, "met": met}))
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
