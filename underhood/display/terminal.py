"""What people see on a terminal: the table of epochs and progress. Imported when something is to be shown."""

import atexit
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TextIO

from underhood.training.reporter import Listener

if TYPE_CHECKING:
    from rich.progress import Progress

    from underhood.core.learner import Epoch, Step

PATIENCE = 10.0  # seconds between two lines of progress where there is no terminal


class Table:
    """The table that fastai users know, a line an epoch: epoch, train_loss, valid_loss, the metrics, time."""

    def __init__(self, stream: TextIO | None = None):
        self._stream = stream or sys.stdout
        self._bar: Progress | None = None
        self._widths: list[int] = []

    def watch(self, steps: "Iterator[Step]") -> "Iterator[Step]":
        """The same steps, with a progress bar on a terminal."""
        if not self._stream.isatty():
            yield from steps
            return
        with progress_bar(self._stream) as self._bar:
            task = self._bar.add_task("training", total=None)
            for step in steps:
                self._bar.update(task, completed=step.number, total=step.total)
                yield step
        self._bar = None

    def row(self, epoch: "Epoch") -> None:
        """Show an epoch; the first also shows the names."""
        if not self._widths:
            names = ["epoch", "train_loss", "valid_loss", *epoch.metrics, "time"]
            self._widths = [max(10, len(name)) for name in names]
            self._line(names)
        minutes, seconds = divmod(round(epoch.seconds), 60)
        numbers = [epoch.train_loss, epoch.valid_loss, *epoch.metrics.values()]
        self._line([str(epoch.epoch), *(f"{number:.6f}" for number in numbers), f"{minutes:02}:{seconds:02}"])

    def _line(self, cells: Sequence[str]) -> None:
        write_line(
            " ".join(f"{cell:>{width}}" for cell, width in zip(cells, self._widths, strict=True)),
            self._stream,
            self._bar,
        )


class Terminal(Listener):
    """Shows what a job does: on stdout, or on stderr where stdout is kept for JSON. Warnings always go to stderr."""

    def __init__(self, stream: TextIO | None = None):
        self._stream = stream or sys.stdout
        self._table = Table(self._stream)
        self._bar: Progress | None = None
        self._began = self._said = time.monotonic()

    def say(self, line: str) -> None:
        write_line(line, self._stream, self._bar)

    def warn(self, line: str) -> None:
        write_line(f"warning: {line}", sys.stderr, self._bar)

    def progress(self, what: str, done: int, total: int) -> None:
        if self._stream.isatty():
            if self._bar is None:
                self._bar = progress_bar(self._stream)
                self._bar.start()
                self._bar.add_task(what, total=total)
            self._bar.update(self._bar.task_ids[0], completed=done)
            if done >= total:
                self.close()
            return
        now = time.monotonic()
        if done <= 1:
            self._began = now
        if now - self._said > PATIENCE:
            self._said = now
            left = (now - self._began) / done * (total - done)
            self.say(f"{what}: {done:,} of {total:,}, about {duration(left)} left")

    def download(self, file: str) -> "DownloadBar":
        self.say(f"downloading {file} …")
        return DownloadBar(file, self._stream)

    def watch(self, steps: "Iterator[Step]") -> "Iterator[Step]":
        self._table = Table(self._stream)
        return self._table.watch(steps)

    def row(self, epoch: "Epoch") -> None:
        self._table.row(epoch)

    def close(self) -> None:
        """Take a bar away that something cut short, so that the cursor comes back."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def write_line(line: str, stream: TextIO, bar: "Progress | None") -> None:
    """Print a line, above the bar where one is running: printed past it, it would end up behind it."""
    if bar is None:
        print(line, file=stream, flush=True)
    else:
        bar.console.print(line, markup=False, highlight=False, soft_wrap=True)


def duration(seconds: float) -> str:
    """For instance ``40 s``, ``12 min`` or ``3.5 h``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


class DownloadBar:
    """A progress bar as pooch wants one: bytes, of a total that is set when it is known."""

    def __init__(self, file: str, stream: TextIO):
        self.total: float | None = None
        self._bar = progress_bar(stream)
        self._task = self._bar.add_task(file, total=None)
        self._bar.start()
        atexit.register(self._bar.stop)  # pooch does not close it when a mirror fails

    def update(self, count: int) -> None:
        self._bar.update(self._task, advance=count, total=self.total)

    def reset(self) -> None:
        self._bar.reset(self._task, total=self.total)

    def close(self) -> None:
        self._bar.stop()


def progress_bar(stream: TextIO) -> "Progress":
    """A bar that goes away when it is done, and stays away where there is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    return Progress(*columns, console=Console(file=stream), transient=True, disable=not stream.isatty())
