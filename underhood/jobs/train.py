"""``train`` and ``train --resume``: from labelled images to a trained, measured model in a run folder."""

import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from underhood.core.errors import DataError, RunError, UnderhoodError
from underhood.data.files import short_list
from underhood.jobs.check import cached_label_issues
from underhood.preparation.files import expanduser
from underhood.runs import read_json
from underhood.runs.folder import (
    changes,
    create_folder,
    environment,
    free_folder,
    read_config,
    require_writable,
    run_lock,
    save_augmented,
    write_label_issues,
    write_record,
)
from underhood.training import Reporter, RunLog
from underhood.training.config import TrainConfig, TrainOptions
from underhood.training.distributed import Processes, init_distributed
from underhood.training.setup import Setup, make_setup
from underhood.training.tracking import require_tracker

if TYPE_CHECKING:
    from underhood.training.run import TrainResult

Saved = tuple[dict[str, Any], float] | None  # a state and its seconds of training


class FinishedRun(TypedDict):
    """What ``resume`` returns for a run that is finished."""

    run: str
    finished: bool


def train(
    data: str | Path = "digits",
    *,
    out: str | Path | None = None,
    reporter: Reporter | None = None,
    **options: Unpack[TrainOptions],
) -> "TrainResult | FinishedRun | None":
    """Train a classifier on labelled images and leave a run folder.

    out: the run folder; by default the next runs/DATA-MODEL-n; options: the fields of ``TrainConfig``
    Returns run, data, model, epochs, seconds (of training, without validation), valid_accuracy with its 95 % interval,
    balanced_accuracy and baseline_accuracy (of the validation images), test_accuracy where the data has both parts,
    parameters, threshold (predictions with a lower probability are rejected), left_out (paths) and report (path).
    With several processes the main one returns this and the others None; one that torchrun has started again resumes
    ``out``. Raises UnderhoodError.
    """
    started = time.perf_counter()
    config = TrainConfig(data, **options)
    place = None if out is None else expanduser(out)
    with init_distributed(config.device) as processes:
        reporter = (reporter or Reporter()) if processes.is_main else Reporter()
        interrupted = place if processes.restarted and place and (place / "config.json").exists() else None
        if interrupted := processes.broadcast(interrupted):
            return _resume(interrupted, processes, reporter, started)
        log = RunLog(reporter)
        if processes.is_main:  # refuse before the work, not after
            require_tracker(config.track)
            require_writable(free_folder(place, config.label))
        setup = make_setup(config, log, processes)
        if not processes.is_main:
            return _finish(None, config, setup, log, started)
        folder = create_folder(place, f"{config.label}-{setup.recipe.model}")
        with run_lock(folder):
            _write_record(folder, config, setup)
            return _finish(folder, config, setup, log, started)


def resume(run: str | Path, *, reporter: Reporter | None = None) -> "TrainResult | FinishedRun | None":
    """Continue a run that was interrupted, from its last saved step, to the same bytes as without the interruption.

    Returns what ``train`` does; for a finished run only run and finished. Raises UnderhoodError, also where the data
    has changed.
    """
    started = time.perf_counter()
    with init_distributed() as processes:
        reporter = (reporter or Reporter()) if processes.is_main else Reporter()
        return _resume(expanduser(run), processes, reporter, started)


def stored_config(folder: Path, config: dict[str, Any]) -> TrainConfig:
    """The options that a run was started with. config: its ``config.json``. Raises RunError where it is damaged."""
    try:
        return TrainConfig.from_dict(config)
    except (TypeError, ValueError, UnderhoodError) as error:
        raise RunError(f"{folder / 'config.json'} is damaged ({error})") from None


def _resume(
    folder: Path, processes: Processes, reporter: Reporter, started: float
) -> "TrainResult | FinishedRun | None":
    """``resume`` in one of several processes. Only the main one reads the run folder, for all."""
    with run_lock(folder) if processes.is_main else nullcontext():
        recorded = processes.broadcast(_recorded(folder) if processes.is_main else None)
        if recorded is None:
            return {"run": str(folder), "finished": True} if processes.is_main else None
        config, saved = recorded
        log = RunLog(reporter)
        setup = make_setup(config if saved is None else replace(config, from_run=None), log, processes)
        if processes.is_main and saved is None:
            _write_record(folder, config, setup)
        elif processes.is_main:
            _check_unchanged(folder, setup, log)
            log.log(f"resumes after step {saved[0]['global_step']:,}")
        if saved is not None:
            _restore(folder, setup, saved[0])
        seconds = saved[1] if saved else 0.0
        return _finish(folder if processes.is_main else None, config, setup, log, started, seconds)


def _recorded(folder: Path) -> tuple[TrainConfig, Saved] | None:
    """(options, the saved state where there is one), or None for a finished run."""
    config = read_config(folder)
    if (folder / "predictions.csv").exists():
        return None
    stored = stored_config(folder, config)
    require_tracker(stored.track)
    from underhood.runs.checkpoint import load_state  # imports torch, which bad input need not wait for

    return stored, load_state(folder)


def _check_unchanged(folder: Path, setup: Setup, log: RunLog) -> None:
    """Raise DataError where the images have changed; warn where the machine has."""
    changed = changes(folder, setup.loaded)
    if changed:
        raise DataError(
            f"{setup.loaded.dataset.name} has changed since {folder} was started ({short_list(changed)}): "
            "restore it, or train a new run"
        )
    before = read_json(folder, "environment.json")
    now = environment(str(setup.learn.device), setup.learn.processes.world_size)
    for name in ("processor", "threads", "processes", "device", "torch"):
        if before.get(name) != now[name]:
            was = f"{name} was {before.get(name)} and is {now[name]}"
            log.warn(f"{was}: the last digits may differ from those of an uninterrupted run")


def _restore(folder: Path, setup: Setup, state: dict[str, Any]) -> None:
    try:
        setup.learn.load_state_dict(state)
        setup.layer_stats.extend(state["layer_stats"])
    except (RuntimeError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise RunError(f"{folder / 'state.safetensors'} does not fit config.json ({reason})") from None


def _write_record(folder: Path, config: TrainConfig, setup: Setup) -> None:
    learn, device = setup.learn, str(setup.learn.device)
    stored = config.as_dict() | setup.recipe.as_dict() | {"device": device}
    write_record(folder, stored, environment(device, learn.processes.world_size), setup.loaded)
    if label_issues := cached_label_issues(stored["data"]):
        write_label_issues(folder / "suspects.csv", label_issues)
    if setup.recipe.augmentation:
        save_augmented(folder, learn.dls.train)


def _finish(
    folder: Path | None, config: TrainConfig, setup: Setup, log: RunLog, started: float, seconds: float = 0.0
) -> "TrainResult | None":
    """Train, measure and report. folder: None in all processes but the main one; started: by ``time.perf_counter``."""
    from underhood.training.run import fit_and_measure

    result = fit_and_measure(folder, config, setup, log, seconds)
    if result is not None and folder is not None:
        if config.report:
            from underhood.analysis.ood import count_ood, write_ood
            from underhood.reporting import write_report
            from underhood.runs.checkpoint import load_run

            write_ood(folder, count_ood(load_run(folder), setup.loaded.dataset.name))
            result["report"] = str(write_report(folder, setup.loaded.dataset))
        log.write(f"everything took {time.perf_counter() - started:.1f} s")
    return result
