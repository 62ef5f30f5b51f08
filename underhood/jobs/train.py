"""``train``: from labelled pictures to a trained, measured model in a run folder."""

import time
from pathlib import Path
from typing import Any

from underhood.jobs.resume import go_on
from underhood.preparation.paths import expanded
from underhood.runs import folder as runs
from underhood.runs.record import write_record
from underhood.training.config import Request
from underhood.training.distributed import joined
from underhood.training.reporter import Listener
from underhood.training.run import fit_and_measure
from underhood.training.run_log import Log
from underhood.training.setup import make_ready
from underhood.training.stop import alone
from underhood.training.tracking import require


def train(
    data: str | Path = "digits", *, out: str | Path | None = None, listener: Listener | None = None, **asked: Any
) -> dict[str, Any]:
    """Train a classifier on labelled pictures and leave a run folder.

    asked: further fields of ``Request``, such as model, epochs, lr, seed; ``underhood train --help`` has each
    out: the run folder; without it the next runs/DATA-MODEL-n
    Returns run, data, model, epochs, seconds (training alone, without validation), valid_accuracy, its 95 % interval,
    balanced_accuracy and baseline_accuracy (fractions of the same pictures), test_accuracy where the data has both
    parts, parameters, threshold (what is less probable is not sure), left_out (paths). Of several processes, the first
    returns this and the others {}; one that torchrun started again goes on with ``out``. Raises UnderhoodError.
    """
    started = time.perf_counter()
    request = Request(data, **asked)
    place = None if out is None else expanded(out)
    with joined(request.device) as ranks:
        listener = (listener or Listener()) if ranks.first else Listener()
        begun = place if ranks.restarted and place and (place / "config.json").exists() else None
        if begun := ranks.share(begun):
            return go_on(begun, ranks, listener, started)
        log = Log(listener)
        if ranks.first:  # refuse before the work, not after
            require(request.track)
            runs.require_writable(runs.free_folder(place, request.label))
        ready = make_ready(request, log, listener, ranks)
        if not ranks.first:
            return fit_and_measure(None, request, ready, log, listener, started)
        folder = runs.create_folder(place, f"{request.label}-{ready.recipe.model}")
        with alone(folder):
            write_record(folder, request, ready)
            return fit_and_measure(folder, request, ready, log, listener, started)
