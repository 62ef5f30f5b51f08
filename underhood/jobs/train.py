"""``train`` and ``train --resume``: from labelled images to a trained, measured model in a run folder."""

import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict, Unpack, cast

from underhood.core.errors import DataError, RunError, UnderhoodError
from underhood.data.files import short_list
from underhood.jobs.check import cached_label_issues
from underhood.jobs.report import complete_report
from underhood.preparation import Preparation
from underhood.preparation.files import expanduser
from underhood.runs import read_json
from underhood.runs.folder import (
    changes,
    create_folder,
    environment,
    free_folder,
    missing_files,
    read_config,
    require_writable,
    run_lock,
    save_augmented,
    write_label_issues,
    write_record,
)
from underhood.runs.interventions import Intervention, read_interventions, write_interventions
from underhood.training import Reporter, RunLog, Watcher
from underhood.training.candidates import Candidate, write_candidates
from underhood.training.choice import choose_config
from underhood.training.config import TrainConfig, TrainOptions
from underhood.training.distributed import Processes, init_distributed
from underhood.training.interventions import intervene
from underhood.training.learning_curve import write_curve
from underhood.training.recipe import Recipe
from underhood.training.record import recorded_threads, require_same_request, stored_config, stored_recipe
from underhood.training.setup import Setup, make_setup
from underhood.training.threads import cpu_threads
from underhood.training.tracking import require_tracker

if TYPE_CHECKING:
    from underhood.training.measure import TrainResult


class Recorded(NamedTuple):
    """What is known of a run that is not finished."""

    config: TrainConfig
    state: dict[str, Any] | None = None
    seconds: float = 0.0  # of training, before the state
    preparation: Preparation | None = None  # where the options and the data do not give it
    threads: int | None = None
    published: dict[str, str | None] | None = None  # where published weights came from
    recipe: Recipe | None = None  # that it was started with
    interventions: Sequence[Intervention] = ()


class FinishedRun(TypedDict):
    """What ``resume`` returns for a run that is finished."""

    run: str
    finished: bool


def train(
    data: str | Path = "digits",
    *,
    out: str | Path | None = None,
    reporter: Reporter | None = None,
    watcher: Watcher | None = None,
    interventions: Sequence[Intervention] = (),
    **options: Unpack[TrainOptions],
) -> "TrainResult | FinishedRun | None":
    """Train a classifier on labelled images and leave a run folder.

    out: the run folder; by default the next runs/DATA-MODEL-n; options: the fields of ``TrainConfig``
    watcher: shows the training while it runs, such as ``live.LivePage``; interventions: what to change by hand, where
    Returns run, data, model, epochs, seconds (of training, without validation), valid_accuracy with its 95 % interval,
    balanced_accuracy and baseline_accuracy (of the validation images), test_accuracy where the data has a test part,
    folds (of cross-validation, with --folds: count, images, accuracy, interval, accuracies, groups),
    parameters, threshold (predictions with a lower probability are rejected), left_out (paths) and report (path).
    With several processes the main one returns this and the others None. Under torchrun with --max-restarts, a run in
    ``out`` that was started with the same request is resumed. Raises UnderhoodError.
    """
    started = time.perf_counter()
    config = TrainConfig(data, **options)
    place = None if out is None else expanduser(out)
    with init_distributed(config.device) as processes:
        reporter = _reporter_here(reporter, processes)
        started_before = processes.restartable and place is not None and (place / "config.json").exists()
        if place is not None and processes.broadcast(started_before):  # torchrun has started the processes again
            return _resume(place, processes, reporter, started, config, watcher)
        log = RunLog(reporter)
        if processes.is_main:  # refuse before the work, not after
            require_tracker(config.track)
            require_writable(free_folder(place, config.label))
        config, candidates = choose_config(config, log, processes)
        loaded = next((one.loaded for one in candidates if one.config is config), None)
        for one in candidates:
            one.loaded = None  # the pixels of others are not needed any more
        setup = make_setup(config, log, processes, loaded=loaded)
        intervene(setup, interventions)
        with cpu_threads(setup, config.threads):
            if not processes.is_main:
                return _finish(None, config, setup, log, started)
            folder = create_folder(place, f"{config.label}-{setup.recipe.model}")
            with run_lock(folder):
                _write_record(folder, config, setup, candidates)
                return _finish(folder, config, setup, log, started, watcher=watcher)


def resume(
    run: str | Path, *, reporter: Reporter | None = None, watcher: Watcher | None = None
) -> "TrainResult | FinishedRun | None":
    """Continue a run that was interrupted, from its last saved step, to the same bytes as without the interruption.

    A run is finished when all its files are there; where only the report is missing, it is written. Returns what
    ``train`` does; for a run that is trained already only run and finished. Raises UnderhoodError, also where the data
    has changed.
    """
    started = time.perf_counter()
    with init_distributed() as processes:
        return _resume(expanduser(run), processes, _reporter_here(reporter, processes), started, watcher=watcher)


def _reporter_here(reporter: Reporter | None, processes: Processes) -> Reporter:
    """The reporter of the main process; one that discards messages elsewhere, after saying where they appear."""
    reporter = reporter or Reporter()
    if processes.is_main:
        return reporter
    if processes.local_rank == 0:
        reporter.log(f"process 0 is on {processes.main_host}: it prints the table and writes the run")
    return Reporter()


def _resume(
    folder: Path,
    processes: Processes,
    reporter: Reporter,
    started: float,
    request: TrainConfig | None = None,
    watcher: Watcher | None = None,
) -> "TrainResult | FinishedRun | None":
    """``resume`` in one of several processes. Only the main one reads the run folder, for all.

    request: of a training that torchrun has started again, which must be the run's own
    """
    with run_lock(folder) if processes.is_main else nullcontext():
        recorded = processes.broadcast(_recorded(folder, processes, request) if processes.is_main else None)
        if recorded is None:
            return _finished(folder, reporter) if processes.is_main else None
        config, state, seconds = recorded.config, recorded.state, recorded.seconds
        log = RunLog(reporter)
        setup = _setup_again(recorded, log, processes)
        intervene(setup, recorded.interventions)
        with cpu_threads(setup, recorded.threads or config.threads):
            if processes.is_main and state is None:
                _write_record(folder, config, setup, [])
            elif processes.is_main:
                _check_unchanged(folder, setup, log)
                log.log(f"resumes after step {state['global_step']:,}")
            if state is not None:
                _restore(folder, setup, state)
            return _finish(folder if processes.is_main else None, config, setup, log, started, seconds, watcher)


def _finished(folder: Path, reporter: Reporter) -> FinishedRun:
    """What ``resume`` returns for a run that is trained and measured. Writes the report where it is missing."""
    if missing_files(folder, stored_config(folder, read_config(folder)).report):
        reporter.log(f"{folder} has everything but its report, which is written now")
        complete_report(folder, reporter, other_data_sets=True)
    return {"run": str(folder), "finished": True}


def _setup_again(recorded: Recorded, log: RunLog, processes: Processes) -> Setup:
    """The setup of a run that goes on. Raises UnderhoodError."""
    config = replace(recorded.config, threads=recorded.threads or recorded.config.threads)
    restored = recorded.state is not None
    if restored and config.tune != "head":  # the state has all weights: the run that it started from may be gone
        config = replace(config, from_run=None)
    setup = make_setup(config, log, processes, recorded.preparation, restored, recorded.recipe)
    own, before = setup.published, recorded.published
    if own and before and own["sha256"] != before.get("sha256"):
        raise RunError(f"{own['source']} is not the file that the run was started with: restore it, or train a new run")
    setup.published = own or before
    return setup


def _recorded(folder: Path, processes: Processes, request: TrainConfig | None) -> Recorded | None:
    """What a run folder says; None for a run that is trained and measured. request: see ``_resume``."""
    config = read_config(folder)
    if request is not None:
        require_same_request(folder, request)
    if not missing_files(folder, report=False):
        return None
    stored = stored_config(folder, config)
    require_tracker(stored.track)
    from underhood.runs.checkpoint import load_state  # imports torch, which bad input need not wait for

    saved, interventions = load_state(folder), read_interventions(folder)
    if saved is None:  # it starts again, with the model that was chosen
        return Recorded(stored, interventions=interventions)
    published = config.get("pretrained")
    published = published if isinstance(published, dict) else None
    preparation = None
    if stored.from_run is not None:  # which may be gone
        try:
            preparation = Preparation(**read_json(folder, "data.json")["preparation"])
        except (TypeError, KeyError, ValueError, UnderhoodError) as error:
            raise RunError(f"{folder / 'data.json'} is damaged ({error})") from None
    threads = recorded_threads(folder, processes.world_size)
    return Recorded(stored, *saved, preparation, threads, published, stored_recipe(folder, config), interventions)


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
    from underhood.runs.checkpoint import check_state

    try:
        check_state(state, setup.learn.model, len(setup.learn.dls.train))
        setup.learn.load_state_dict(state)
        setup.layer_stats.extend(state["layer_stats"])
    except (RuntimeError, KeyError, ValueError, IndexError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise RunError(f"{folder / 'state.safetensors'} does not fit config.json ({reason})") from None


def _write_record(folder: Path, config: TrainConfig, setup: Setup, candidates: list[Candidate]) -> None:
    learn, device = setup.learn, str(setup.learn.device)
    stored = (
        config.as_dict()
        | setup.recipe.as_dict()
        | {"device": device}
        | ({"pretrained": setup.published} if setup.published else {})
    )
    if setup.interventions:  # before config.json, from which a killed run starts again
        write_interventions(folder, setup.interventions)
    write_record(folder, stored, environment(device, learn.processes.world_size), setup.loaded)
    write_candidates(folder, candidates, len(setup.loaded.dataset.train))
    if label_issues := cached_label_issues(stored["data"]):
        write_label_issues(folder / "suspects.csv", label_issues)
    if setup.recipe.augmentation:
        save_augmented(folder, learn.dls.train)


def _finish(
    folder: Path | None,
    config: TrainConfig,
    setup: Setup,
    log: RunLog,
    started: float,
    seconds: float = 0.0,
    watcher: Watcher | None = None,
) -> "TrainResult | None":
    """Train, measure and report. folder: None in all processes but the main one; started: by ``time.perf_counter``."""
    from underhood.training.folds import cross_validate_run
    from underhood.training.run import fit_and_measure

    validated = None if config.folds is None else cross_validate_run(folder, setup, config, log)
    result = fit_and_measure(folder, config, setup, log, seconds, watcher)
    if result is not None and folder is not None:
        if validated is not None:
            cast("dict[str, Any]", result)["folds"] = validated
        if config.report:
            from underhood.analysis.ood import count_ood, write_ood
            from underhood.reporting import write_report
            from underhood.runs.checkpoint import load_run

            write_ood(folder, count_ood(load_run(folder), setup.loaded.dataset.name))
            if not read_interventions(folder):  # which a curve of other sizes cannot repeat
                write_curve(folder, setup, config, result["valid_accuracy"], log.reporter)
            result["report"] = str(write_report(folder, setup.loaded.dataset, setup.loaded.groups.get("valid")))
        log.write(f"everything took {time.perf_counter() - started:.1f} s")
    return result
