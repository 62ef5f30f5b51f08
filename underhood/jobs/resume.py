"""``train --resume``: a run that was killed goes on where it was, and ends in the same bytes."""

import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from underhood.core.errors import DataError, RunError
from underhood.preparation.paths import expanded
from underhood.runs import folder as runs
from underhood.runs.record import changes, few, write_record
from underhood.training.config import Request
from underhood.training.distributed import Ranks, joined
from underhood.training.reporter import Listener
from underhood.training.run import fit_and_measure
from underhood.training.run_log import Log
from underhood.training.setup import make_ready
from underhood.training.stop import alone
from underhood.training.tracking import require

if TYPE_CHECKING:
    from underhood.core.learner import Learner


def resume(run: str | Path, *, listener: Listener | None = None) -> dict[str, Any]:
    """Go on with a run that was ended before its end, from its last saved step, to the same bytes.

    Returns what ``train`` does; of a finished run only run and finished. Raises UnderhoodError: where the data has
    changed, too.
    """
    started = time.perf_counter()
    with joined() as ranks:
        return go_on(expanded(run), ranks, (listener or Listener()) if ranks.first else Listener(), started)


def go_on(folder: Path, ranks: Ranks, listener: Listener, started: float) -> dict[str, Any]:
    """``resume``, as one of several processes: what the folder holds, the first tells the others.

    Raises DataError where the pictures have changed, RunError where the state does not fit.
    """
    with alone(folder) if ranks.first else nullcontext():
        recorded = ranks.share(_recorded(folder) if ranks.first else None)
        if recorded is None:
            return {"run": str(folder), "finished": True} if ranks.first else {}
        request, saved = recorded
        log = Log(listener)
        ready = make_ready(request if saved is None else replace(request, from_run=None), log, listener, ranks)
        if ranks.first and saved is None:
            write_record(folder, request, ready)
        elif ranks.first:
            changed = changes(folder, ready.dataset)
            if changed:
                raise DataError(
                    f"{ready.dataset.name} has changed since {folder} began ({few(changed)}): "
                    "bring it back as it was, or train anew"
                )
            _warn_of_another_machine(folder, ready.learn, log)
            log.say(f"goes on after step {saved[0]['taken']:,}")
        if saved is not None:
            try:
                ready.learn.load_state_dict(saved[0])
                ready.looks = list(saved[0].get("looks", ()))
            except (RuntimeError, KeyError) as error:
                raise RunError(
                    f"{folder / 'state.safetensors'} does not fit config.json ({str(error).splitlines()[0]})"
                ) from None
        seconds = saved[1] if saved else 0.0
        return fit_and_measure(folder if ranks.first else None, request, ready, log, listener, started, seconds)


def _recorded(folder: Path) -> tuple[Request, tuple[dict[str, Any], float] | None] | None:
    """(what was asked, the state and the seconds it took, where one was saved), or None of a finished run."""
    config = runs.read_config(folder)
    if (folder / "predictions.csv").exists():
        return None
    request = stored_request(folder, config)
    require(request.track)
    from underhood.runs.checkpoint import load_state  # brings torch, which bad input need not wait for

    return request, load_state(folder)


def stored_request(folder: Path, config: dict[str, Any]) -> Request:
    """What a run was asked. Raises RunError where that is not what ``train`` takes."""
    try:
        return Request.from_dict(config)
    except (TypeError, ValueError) as error:
        raise RunError(f"{folder / 'config.json'} is damaged ({error})") from None


def _warn_of_another_machine(folder: Path, learn: "Learner", log: Log) -> None:
    before = runs.read_json(folder, "environment.json")
    now = runs.environment(str(learn.device), learn.ranks.size)
    for name in ("processor", "threads", "processes", "device", "torch"):
        if before.get(name) != now[name]:
            log.warn(
                f"{name} was {before.get(name)} and is {now[name]}: the last digits may differ from an unbroken run's"
            )
