"""``train --resume``: a run that was killed goes on where it was, and ends in the same bytes."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from underhood.data.images import Dataset
from underhood.errors import DataError, RunError
from underhood.jobs.learners import make_ready
from underhood.jobs.log import Log
from underhood.jobs.request import Request
from underhood.jobs.stopping import alone
from underhood.jobs.training import data_record, train_in, write_record
from underhood.listener import Listener
from underhood.paths import expanded
from underhood.runs import run as runs


def resume(run: str | Path, *, listener: Listener | None = None) -> dict[str, Any]:
    """Go on with a run that was ended before its end, from its last saved step, to the same bytes.

    Returns what ``train`` does; of a finished run only run and finished. Raises UnderhoodError: where the data has
    changed, too.
    """
    started = time.perf_counter()
    folder = expanded(run)
    config = runs.read_config(folder)
    with alone(folder):
        if (folder / "predictions.csv").exists():
            return {"run": str(folder), "finished": True}
        try:
            request = Request.from_dict(config)
        except (TypeError, ValueError) as error:
            raise RunError(f"{folder / 'config.json'} is damaged ({error})") from None
        log = Log(listener := listener or Listener())
        from underhood.runs.state import load_state  # brings torch, which bad input need not wait for

        saved = load_state(folder)
        ready = make_ready(request if saved is None else replace(request, from_run=None), log, listener)
        if saved is None:
            write_record(folder, request, ready)
        else:
            _require_same_data(folder, ready.dataset)
            _warn_of_another_machine(folder, str(ready.learn.device), log)
            try:
                ready.learn.load_state_dict(saved[0])
            except (RuntimeError, KeyError) as error:
                raise RunError(
                    f"{folder / 'state.safetensors'} does not fit config.json ({str(error).splitlines()[0]})"
                ) from None
            log.say(f"goes on after step {saved[0]['taken']:,}")
        return train_in(folder, request, ready, log, listener, started, saved[1] if saved else 0.0)


def _require_same_data(folder: Path, dataset: Dataset) -> None:
    """Raise DataError, naming what changed, unless the pictures are those that the run began with."""
    before, now = runs.read_json(folder, "data.json"), data_record(dataset)
    if before.get("classes") != now["classes"]:
        raise DataError(f"{dataset.name} has other classes than when {folder} began: bring them back or train anew")
    for part, digest in now["sha256"].items():
        if before.get("sha256", {}).get(part) != digest:
            counts = before.get("counts", {}).get(part, {})
            other = [name for name, count in now["counts"][part].items() if counts.get(name) != count]
            what = (
                f"{other[0]!r} has {now['counts'][part][other[0]]} pictures, not {counts.get(other[0])}"
                if other
                else "pictures"
            )
            raise DataError(
                f"the {part} part of {dataset.name} has changed since {folder} began ({what}): "
                "bring it back as it was, or train anew"
            )


def _warn_of_another_machine(folder: Path, device: str, log: Log) -> None:
    before, now = runs.read_json(folder, "environment.json"), runs.environment(device)
    for name in ("processor", "threads", "device", "torch"):
        if before.get(name) != now[name]:
            log.warn(
                f"{name} was {before.get(name)} and is {now[name]}: the last digits may differ from an unbroken run's"
            )
