"""``report``: write a run's page again."""

import time
from pathlib import Path
from typing import TypedDict

from underhood.core.errors import RunError
from underhood.data.files import short_list
from underhood.data.named import NAMES
from underhood.data.read import load_data
from underhood.jobs.train import stored_config
from underhood.preparation.files import expanduser
from underhood.runs.checkpoint import load_run
from underhood.runs.folder import changes, read_config
from underhood.training import Reporter


class ReportResult(TypedDict):
    """What ``report`` returns."""

    run: str
    report: str  # path
    bytes: int
    seconds: float


def report(run: str | Path, *, reporter: Reporter | None = None) -> ReportResult:
    """Write ``report.html`` of a finished run, from its files and the images that it was trained on.

    Returns run, report (its path), bytes, seconds. Raises UnderhoodError, also where the images have changed.
    """
    started = time.perf_counter()
    reporter = reporter or Reporter()
    loaded = load_run(expanduser(run))
    config = stored_config(loaded.path, read_config(loaded.path))
    if str(config.data) not in NAMES and not Path(config.data).exists():
        raise RunError(f"{loaded.path} was trained on {config.data}, which is no longer there: restore it")
    data = load_data(
        config.data, preparation=loaded.preparation, valid=config.valid, seed=config.seed, limit=config.limit,
        skip_bad=config.skip_bad, cache=config.cache, progress=reporter.read_progress(), bar=reporter.download,
    )  # fmt: skip
    changed = changes(loaded.path, data)
    if changed:
        what = f"the images of {loaded.path} have changed since ({short_list(changed)})"
        raise RunError(f"{what}: restore them, or train again with underhood rerun {loaded.path}")

    from underhood.analysis.ood import OOD_FILE, count_ood, write_ood
    from underhood.reporting import write_report

    if not (loaded.path / OOD_FILE).exists():  # as after train --no-report
        write_ood(loaded.path, count_ood(loaded, data.dataset.name, other_data_sets=False))
    path = write_report(loaded.path, data.dataset)
    seconds = round(time.perf_counter() - started, 3)
    return {"run": str(run), "report": str(path), "bytes": path.stat().st_size, "seconds": seconds}
