"""``report``: write a run's page again."""

import time
from pathlib import Path
from typing import TypedDict

from underhood.jobs.train import complete_report
from underhood.preparation.files import expanduser
from underhood.training import Reporter


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
