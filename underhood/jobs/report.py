"""``report``: a run's page, written again."""

import time
from pathlib import Path
from typing import Any

from underhood.core.errors import RunError
from underhood.data.named import NAMES
from underhood.data.read import read
from underhood.jobs.resume import stored_request
from underhood.preparation.paths import expanded
from underhood.runs.folder import load_run, read_config
from underhood.runs.record import changes, few
from underhood.training.reporter import Listener


def report(run: str | Path, *, listener: Listener | None = None) -> dict[str, Any]:
    """Write ``report.html`` of a finished run, from its files and the pictures that it was trained on.

    Returns run, report (its path), bytes, seconds. Raises UnderhoodError: where the pictures have changed, too.
    """
    started = time.perf_counter()
    listener = listener or Listener()
    loaded = load_run(expanded(run))
    request = stored_request(loaded.path, read_config(loaded.path))
    if str(request.data) not in NAMES and not Path(request.data).exists():
        raise RunError(f"{loaded.path} was trained on {request.data}, which is no longer there: bring it back")
    dataset = read(
        request.data, preparation=loaded.preparation, valid=request.valid, seed=request.seed, limit=request.limit,
        skip_bad=request.skip_bad, cache=request.cache, progress=listener.reading(), bar=listener.download,
    )  # fmt: skip
    changed = changes(loaded.path, dataset)
    if changed:
        what = f"the pictures of {loaded.path} have changed since ({few(changed)})"
        raise RunError(f"{what}: bring them back, or train again with underhood rerun {loaded.path}")

    from underhood.reporting.page import write_report

    path = write_report(loaded.path, dataset)
    seconds = round(time.perf_counter() - started, 3)
    return {"run": str(run), "report": str(path), "bytes": path.stat().st_size, "seconds": seconds}
