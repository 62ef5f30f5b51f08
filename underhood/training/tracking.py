"""``--track tensorboard``: losses, learning rate and metrics as TensorBoard event files in the run folder.

    underhood train DATA --track tensorboard
    tensorboard --logdir runs

The training loop calls ``on_step`` after each step and ``on_epoch_end`` after each epoch. Losses stay on the device
until an epoch's last, or ``STEPS_PER_WRITE`` of them, are written together. All figures are drawn over the run's steps.
"""

import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from underhood.core.errors import RunError, UnderhoodError

if TYPE_CHECKING:
    from tensorboard.compat.proto.event_pb2 import Event

    from underhood.core.learner import Epoch, Learner, Step

STEPS_PER_WRITE = 100


def require_tracker(tracker: str | None) -> None:
    """Raise UnderhoodError where a tracker's library is not installed. Imports nothing."""
    spec = None if tracker is None else find_spec(tracker)
    if tracker is not None and (spec is None or spec.origin is None):  # a folder of that name is no library
        raise UnderhoodError(f"--track {tracker} needs {tracker}: pip install 'underhood-vision[{tracker}]'")


class Tracker:
    """Writes what a training measures to an event file in RUN/tensorboard. Raises RunError where it cannot.

    A resumed run writes its unfinished epoch again, from its state, and TensorBoard ignores what an earlier file has of
    these steps: each step is there once, wherever the run was killed. For that, an epoch's figures must be written
    before a state says that the epoch is done.
    """

    def __init__(self, folder: Path, learn: "Learner"):
        before = learn.global_step % len(learn.dls.train)  # steps of the epoch under way
        self._learn, self._written = learn, learn.global_step - before
        self._times = [time.time()] * before
        with _one_line_errors():
            self._file = EventFile(folder / "tensorboard", self._written + 1)

    def on_step(self, step: "Step") -> None:
        """Note a step's time; write its loss and learning rate now and then. Raises RunError."""
        self._times.append(time.time())
        if len(self._times) >= STEPS_PER_WRITE or step.epoch_end:
            self._write_steps()

    def on_epoch_end(self, epoch: "Epoch") -> None:
        """Write an epoch's losses and metrics, at its last step. Raises RunError."""
        figures = {"train_loss": epoch.train_loss, "valid_loss": epoch.valid_loss} | epoch.metrics
        with _one_line_errors():
            for name, value in figures.items():
                self._file.add_scalar(f"epoch/{name}", value, self._learn.global_step)
            self._file.flush()

    def close(self) -> None:
        """Write what is left, and close the file. Raises RunError."""
        with _one_line_errors(), closing(self._file):
            self._write_steps()

    def _write_steps(self) -> None:
        learn = self._learn
        count = learn.global_step - self._written
        end = (learn.global_step - 1) % len(learn.dls.train) + 1  # in the epoch under way
        losses = learn.epoch_losses[end - count : end].tolist()
        lrs = learn.recorder.lrs[len(learn.recorder.lrs) - count :]
        times = [*self._times, *[time.time()] * (count - len(self._times))]  # a step that failed was not reported
        with _one_line_errors():
            steps = range(self._written + 1, learn.global_step + 1)
            for number, loss, lr, when in zip(steps, losses, lrs, times, strict=True):
                self._file.add_scalar("step/train_loss", loss, number, when)
                self._file.add_scalar("step/lr", lr, number, when)
            self._file.flush()
        self._written, self._times = learn.global_step, []


@contextmanager
def track(folder: Path | None, tracker: str | None, learn: "Learner") -> Iterator[Tracker | None]:
    """A run's tracker, if it has one. Raises RunError, unless another error has ended the training: then that one."""
    if tracker is None or folder is None:
        yield None
        return
    writer = Tracker(folder, learn)
    try:
        yield writer
    except BaseException:
        with suppress(RunError):
            writer.close()
        raise
    writer.close()


class EventFile:
    """A new TensorBoard event file. first: TensorBoard ignores what earlier files have of this step and later ones.

    Written record by record: torch's ``SummaryWriter`` hands records to a thread, whose errors (a full disk) end in a
    traceback that cannot be caught. Each method raises OSError with the file's name.
    """

    def __init__(self, folder: Path, first: int):
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter

        folder.mkdir(exist_ok=True)
        self.path = folder / f"events.out.tfevents.{time.time():017.6f}.{socket.gethostname()}"  # read in this order
        self._records = RecordWriter(self.path.open("xb"))
        self._write(Event(wall_time=time.time(), step=first, file_version="brain.Event:2"))
        start = SessionLog(status=SessionLog.START)
        self._write(Event(wall_time=time.time(), step=first, session_log=start))

    def add_scalar(self, tag: str, scalar_value: float, global_step: int, walltime: float | None = None) -> None:
        """Add a number of a step. walltime: seconds since 1970, now by default."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        value = Summary.Value(tag=tag, simple_value=scalar_value)
        self._write(Event(wall_time=walltime or time.time(), step=global_step, summary=Summary(value=[value])))

    def flush(self) -> None:
        """Put everything that was added into the file."""
        with self._named_errors():
            self._records.flush()

    def close(self) -> None:
        """Flush and close the file."""
        with self._named_errors():
            self._records.close()

    def _write(self, event: "Event") -> None:
        with self._named_errors():
            self._records.write(event.SerializeToString())

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:  # the error of a write does not have the file's name
            raise OSError(error.errno, error.strerror, str(self.path)) from None


@contextmanager
def _one_line_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        what = error.filename or "the files of --track"
        raise RunError(f"cannot write {what} ({error.strerror}): fix that, then continue with --resume") from None
