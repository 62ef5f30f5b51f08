"""THE RUN: a loop over ``Learner.steps`` that keeps a run folder. ``train``, ``--resume`` and ``rerun`` go through it.

What happens after a step is written out in ``fit``: statistics, progress, end of an epoch, checkpoint, stop signal.
"""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import numpy as np

from underhood.core.errors import DivergedError, InterruptedRunError
from underhood.core.schedule import SCHEDULES
from underhood.preparation.files import expanduser
from underhood.runs import write_csv
from underhood.runs.checkpoint import load_run, load_state, save_state
from underhood.runs.interventions import read_interventions
from underhood.training import RunLog, Watcher
from underhood.training.config import TrainConfig
from underhood.training.interventions import Steering, end_epoch, intervene
from underhood.training.layer_stats import LAYER_COLUMNS, StepStats, first_nan_layer, layer_names
from underhood.training.measure import TrainResult, measure, why_sets_are_large
from underhood.training.setup import Setup, make_learner
from underhood.training.snapshots import SnapshotRecorder
from underhood.training.threads import pinned_threads
from underhood.training.tracking import track

if TYPE_CHECKING:
    from underhood.core.learner import Learner, Recorder, Step

SAVING_SHARE = 0.01  # of the time at most, for states saved at the ends of epochs; those every ``save_every`` are extra
STEPS_FILE_ROWS = 2000  # at most


def fit_and_measure(
    folder: Path | None, config: TrainConfig, setup: Setup, log: RunLog, seconds: float = 0.0,
    watcher: Watcher | None = None,
) -> TrainResult | None:  # fmt: skip
    """Train, and measure the model, in a run folder that has its record. Returns what the job ``train`` does.

    folder: None in all processes but the main one, which only train, and return None
    seconds: of training before this process; watcher: shows the training from inside
    Raises DivergedError, which names the layer; InterruptedRunError; RunError where a file cannot be written.
    """
    if folder is not None:
        log.open(folder / "log.txt")
    try:
        seconds = fit(folder, config, setup, log, seconds, watcher)
    except DivergedError as error:
        if folder is None:
            raise
        raise DivergedError(f"{error}; {_find_nan(folder, config, setup, error.step)}", error.step) from None
    if folder is None:
        return None
    result = measure(folder, setup, config)
    if note := why_sets_are_large(setup.loaded, config.coverage):
        log.log(note)
    result["data"], result["seconds"] = str(config.data), round(seconds, 3)
    log.write(f"accuracy {result['valid_accuracy']:.4f}, balanced {result['balanced_accuracy']:.4f}")
    return result


def fit(
    folder: Path | None, config: TrainConfig, setup: Setup, log: RunLog, seconds: float = 0.0,
    watcher: Watcher | None = None,
) -> float:  # fmt: skip
    """Train. Returns the seconds of training in all, without validation; ``seconds`` are those before this process.

    Raises DivergedError, InterruptedRunError, RunError.
    """
    learn, recipe, reporter, watcher = setup.learn, setup.recipe, log.reporter, watcher or Watcher()
    total = recipe.epochs * len(learn.dls.train)
    stats = StepStats(learn, max(10, -(-total // 100)), setup.layer_stats)  # each tenth step, or a hundred in all
    steering = Steering(folder, recipe.lr, SCHEDULES[config.schedule], setup.interventions)
    snapshots = SnapshotRecorder(folder, learn, total, config.snapshots)
    checkpoint = Checkpoint(folder, setup, config.save_every, seconds, snapshots)
    if snapshots.too_large:
        log.log(snapshots.too_large)
    with (
        pinned_threads(learn), stop_signals(folder) as stop, closing(stats),
        track(folder, config.track, learn) as tracker, watcher.watch(setup, steering, stop),
    ):  # fmt: skip
        stats.before_step()
        for step in learn.steps(recipe.epochs, recipe.lr, steering.schedule):
            stats.after_step(step)
            snapshots.after_step(step)
            reporter.on_step(step)
            if tracker:
                tracker.on_step(step)
            watcher.after_step(step)  # a live page: it shows the step, and waits where it is paused
            if step.epoch_end or steering.ends_at(step.number):
                epoch = end_epoch(learn, checkpoint.epoch_seconds(), watcher.waited())  # validate, and add a row
                reporter.on_epoch_end(epoch)
                log.write(f"epoch {epoch.epoch} took {epoch.seconds:.2f} s of training")
                checkpoint.end_epoch(epoch.seconds)
                if tracker:
                    tracker.on_epoch_end(epoch)
                watcher.on_epoch_end(epoch)
            if steering.ends_at(step.number):
                break
            if stop.is_set() or checkpoint.is_due(step):
                checkpoint.save()  # metrics.csv, new snapshots and state.safetensors
            stop.check()
            stats.before_step()
    if folder is not None:
        snapshots.finish()
        _write_measurements(folder, setup)
        steering.report(log)
    return checkpoint.seconds


class Checkpoint:
    """Saves the state: every ``save_every`` seconds, and at the end of each epoch unless epochs are so short that this
    would take more than ``SAVING_SHARE`` of the time. Without a folder it saves nothing."""

    def __init__(
        self, folder: Path | None, setup: Setup, save_every: float, seconds: float, snapshots: SnapshotRecorder
    ):  # fmt: skip
        self.seconds = seconds  # of training, in finished epochs
        self._snapshots = snapshots
        self._folder, self._setup, self._save_every = folder, setup, save_every
        self._started = self._last = self._epoch_started = time.monotonic()
        self._cost = self._spent = 0.0  # seconds: to save a state, to save all of them

    def epoch_seconds(self) -> float:
        """Seconds since the epoch under way has begun."""
        return time.monotonic() - self._epoch_started

    def end_epoch(self, seconds: float) -> None:
        """Count an epoch's seconds of training."""
        self.seconds += seconds
        self._epoch_started = time.monotonic()

    def is_due(self, step: "Step") -> bool:
        """Whether to save after this step."""
        now = time.monotonic()
        cheap = step.epoch_end and self._spent + self._cost <= SAVING_SHARE * (now - self._started)
        return self._folder is not None and (cheap or now - self._last >= self._save_every)

    def save(self) -> None:
        """Write metrics.csv and snapshots, then the state: a run that resumes after its last step has all of them.

        Raises DivergedError if the loss is NaN or infinite: that is no state to keep; RunError.
        """
        import torch

        if self._folder is None:
            return
        began = time.monotonic()
        rows = self._setup.layer_stats
        state = self._setup.learn.state_dict() | {"layer_stats": torch.stack(rows) if rows else torch.empty(0)}
        write_metrics(self._folder, self._setup.learn)
        self._snapshots.save()
        of_this_epoch = began - self._epoch_started if state["losses"].numel() else 0.0
        save_state(self._folder, state, self.seconds + of_this_epoch)
        self._last = time.monotonic()
        self._cost = self._last - began
        self._spent += self._cost


class StopFlag:
    """``signal``: the number of the signal that asked the run to stop, or None."""

    def __init__(self, folder: Path | None):
        self.signal: int | None = None
        self._seen: int | None = None
        self._folder = folder

    def is_set(self) -> bool:
        """Whether a signal has arrived. The caller saves the state, and then calls ``check``."""
        self._seen = self.signal
        return self._seen is not None

    def check(self) -> None:
        """Raise InterruptedRunError if ``is_set`` has said so: the state is saved, which its message says."""
        if self._seen is not None:
            raise InterruptedRunError(self._folder, self._seen)


@contextmanager
def stop_signals(folder: Path | None) -> Iterator[StopFlag]:
    """Within, the first SIGINT or SIGTERM sets a flag that the run checks after each step; the second ends it. Without
    a folder, in processes other than the main one, signals act as usual."""
    stop = StopFlag(folder)
    if folder is None or threading.current_thread() is not threading.main_thread():  # only the main thread may set them
        yield stop
        return

    def on_signal(number: int, _: FrameType | None) -> None:
        stop.signal = number
        signal.signal(number, signal.SIG_DFL)

    earlier = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def write_metrics(folder: Path, learn: "Learner") -> None:
    """Write ``metrics.csv``, a row for each epoch. Raises RunError."""
    header = ["epoch", "train_loss", "valid_loss", *learn.recorder.metric_names]
    write_csv(folder / "metrics.csv", header, ([i, *row] for i, row in enumerate(learn.recorder.values)))


def _thinned(recorder: "Recorder") -> list[tuple[int, float, float]]:
    """(step, loss, lr) of each step; of a long training the mean of a few steps at a time, under the last's number."""
    block = -(-len(recorder.losses) // STEPS_FILE_ROWS)
    starts = range(0, len(recorder.losses), block)
    parts = ((recorder.losses[at : at + block], recorder.lrs[at : at + block], at) for at in starts)
    return [(at + len(losses), float(np.mean(losses)), lrs[-1]) for losses, lrs, at in parts]


def _write_measurements(folder: Path, setup: Setup) -> None:
    """Write metrics.csv, steps.csv and layers.csv: the statistics of each layer at the measured steps; an empty cell
    where there is none."""
    write_metrics(folder, setup.learn)
    write_csv(folder / "steps.csv", ["step", "train_loss", "lr"], _thinned(setup.learn.recorder))
    rows = [
        [int(step), layer, *("" if value != value else f"{value:.6g}" for value in values)]
        for stats in setup.layer_stats
        for layer, (step, *values) in zip(layer_names(setup.learn.model), stats.tolist(), strict=True)
    ]
    write_csv(folder / "layers.csv", [LAYER_COLUMNS[0], "layer", *LAYER_COLUMNS[1:]], rows)


def _find_nan(folder: Path, config: TrainConfig, setup: Setup, step: int) -> str:
    """In which layer a NaN came first, found by repeating the steps since the last saved state."""
    recipe = setup.recipe
    earlier = None if config.from_run is None else load_run(expanduser(config.from_run))
    again = make_learner(setup.loaded, recipe, config, earlier=earlier)
    intervene(again, read_interventions(folder))
    learn, steering = again.learn, Steering(None, recipe.lr, SCHEDULES[config.schedule], again.interventions)
    saved = load_state(folder)
    if saved is not None:
        learn.load_state_dict(saved[0])
    layer = first_nan_layer(learn, learn.steps(recipe.epochs, recipe.lr, steering.schedule), step)
    last = f"the last good state, of step {saved[0]['global_step']:,}, is kept" if saved else "no state was saved"
    return f"repeated, it first appears {layer}; {last}"
