"""``report``: write a run's page again."""

import time
from pathlib import Path
from typing import TypedDict

from underhood.preparation.files import expanduser
from underhood.runs.interventions import read_interventions
from underhood.training import Reporter
from underhood.training.learning_curve import CURVE_FILE, complete_curve
from underhood.training.record import load_finished, recorded_threads


class ReportResult(TypedDict):
    """What ``report`` returns."""

    run: str
    report: str  # path
    bytes: int
    seconds: float


def report(run: str | Path, *, reporter: Reporter | None = None) -> ReportResult:
    """Write ``report.html`` of a trained run, from its files and the images that it was trained on.

    Returns run, report (its path), bytes, seconds. Raises UnderhoodError, also where the images have changed.
    """
    started = time.perf_counter()
    path = complete_report(expanduser(run), reporter or Reporter(), other_data_sets=False)
    seconds = round(time.perf_counter() - started, 3)
    return {"run": str(run), "report": str(path), "bytes": path.stat().st_size, "seconds": seconds}


def complete_report(folder: Path, reporter: Reporter, other_data_sets: bool) -> Path:
    """Write ``report.html`` of a trained run, and what it shows and is missing. Returns the page's path.

    These are ``ood.csv`` and, where it takes seconds, ``learning_curve.csv``.

    other_data_sets: see ``count_ood``
    Raises UnderhoodError, also where the images, which are read again, have changed.
    """
    from underhood.analysis.ood import OOD_FILE, count_ood, write_ood
    from underhood.reporting import write_report

    run, config, data = load_finished(folder, reporter)
    if not (folder / OOD_FILE).exists():
        write_ood(folder, count_ood(run, data.dataset.name, other_data_sets))
    if not (folder / CURVE_FILE).exists() and not read_interventions(folder):
        complete_curve(run, data, config, recorded_threads(folder), reporter)
    return write_report(folder, data.dataset, data.groups.get("valid"))
