"""``compare``: two or more runs on the same validation images."""

from pathlib import Path
from typing import NotRequired, TypedDict

import numpy as np

from underhood.analysis import fixed_and_broken, mcnemar, wilson_interval
from underhood.analysis.interpretation import Interpretation
from underhood.core.errors import RunError
from underhood.preparation.files import expanduser
from underhood.runs import read_json
from underhood.runs.folder import read_config

SIGNIFICANCE = 0.05  # a difference that chance produces less often than this counts


class ComparedRun(TypedDict):
    """A run beside the first one."""

    run: str
    model: str | None
    accuracy: float
    interval: tuple[float, float]  # 95 %
    same_pixels: bool  # as the first run's
    fixed: NotRequired[list[str]]  # paths that it predicts right and the first wrong
    broken: NotRequired[list[str]]  # the reverse
    p: NotRequired[float]  # McNemar's exact test
    verdict: NotRequired[str]  # better, worse or cannot tell


class CompareResult(TypedDict):
    """What ``compare`` returns."""

    images: int
    runs: list[ComparedRun]


def compare(*runs: str | Path) -> CompareResult:
    """Compare runs with the first one, on the same validation images.

    Returns images (how many), and runs, each with run, model, accuracy, interval (95 %) and, but for the first, fixed
    and broken (paths, right where the first is wrong, and the reverse), p (McNemar's exact test) and verdict:
    better, worse or cannot tell. Raises RunError where the images are not the same.
    """
    if len(runs) < 2:
        raise RunError("there is nothing to compare: name two runs or more")
    folders = [expanduser(run) for run in runs]
    all_of_them = [Interpretation.from_run(folder) for folder in folders]
    first = all_of_them[0]
    digests = [read_json(folder, "data.json").get("sha256", {}).get("valid") for folder in folders]
    rows: list[ComparedRun] = []
    for folder, these, digest in zip(folders, all_of_them, digests, strict=True):
        if these.names != first.names or (these.labels != first.labels).any() or these.classes != first.classes:
            raise RunError(f"{folder} was not validated on the images of {folders[0]}: train both on the same split")
        row: ComparedRun = {
            "run": str(folder),
            "model": read_config(folder).get("model"),
            "accuracy": float(these.right.mean()),
            "interval": wilson_interval(int(these.right.sum()), len(these)),
            "same_pixels": digest == digests[0],
        }
        if these is not first:
            fixed, broken = fixed_and_broken(first.right, these.right)
            row["fixed"] = [these.names[i] for i in np.flatnonzero(these.right & ~first.right)]
            row["broken"] = [these.names[i] for i in np.flatnonzero(first.right & ~these.right)]
            row["p"] = p = mcnemar(fixed, broken)
            row["verdict"] = "cannot tell" if p >= SIGNIFICANCE else "better" if fixed > broken else "worse"
        rows.append(row)
    return {"images": len(first), "runs": rows}
