"""``compare``: two or more runs, on the same pictures."""

from pathlib import Path
from typing import Any

import numpy as np

from underhood.analysis.interpretation import Interpretation, fixed_and_broken, mcnemar, wilson_interval
from underhood.core.errors import RunError
from underhood.preparation.paths import expanded
from underhood.runs.folder import read_config, read_json

SURE = 0.05  # a difference that chance gives less often than this is one


def compare(*runs: str | Path) -> dict[str, Any]:
    """Runs beside the first, on the same validation pictures.

    Returns images (how many), and runs, each with run, model, accuracy, interval (95 %) and, but for the first, fixed
    and broken (paths that it tells right and the first wrong, and the reverse), p (McNemar's exact test) and verdict:
    better, worse or cannot tell. Raises RunError where the pictures are not the same.
    """
    if len(runs) < 2:
        raise RunError("there is nothing to compare: name two runs or more")
    folders = [expanded(run) for run in runs]
    all_of_them = [Interpretation.from_run(folder) for folder in folders]
    first = all_of_them[0]
    digests = [read_json(folder, "data.json").get("sha256", {}).get("valid") for folder in folders]
    rows = []
    for folder, these, digest in zip(folders, all_of_them, digests, strict=True):
        if these.names != first.names or (these.labels != first.labels).any() or these.classes != first.classes:
            raise RunError(f"{folder} was not validated on the pictures of {folders[0]}: train both on the same split")
        row: dict[str, Any] = {
            "run": str(folder),
            "model": read_config(folder).get("model"),
            "accuracy": float(these.right.mean()),
            "interval": wilson_interval(int(these.right.sum()), len(these)),
            "same_pixels": digest == digests[0],
        }
        if these is not first:
            fixed, broken = fixed_and_broken(first.right, these.right)
            p = mcnemar(fixed, broken)
            verdict = "cannot tell" if p >= SURE else "better" if fixed > broken else "worse"
            row |= {
                "fixed": [these.names[i] for i in np.flatnonzero(these.right & ~first.right)],
                "broken": [these.names[i] for i in np.flatnonzero(first.right & ~these.right)],
                "p": p,
                "verdict": verdict,
            }
        rows.append(row)
    return {"images": len(first), "runs": rows}
