"""What a job shows on a terminal: messages, progress bars and the table of epochs."""

import atexit
import sys
import time
from typing import TYPE_CHECKING, TextIO

from underhood.training import Reporter

if TYPE_CHECKING:
    from rich.progress import Progress

    from underhood.core.learner import Epoch, Step

PROGRESS_INTERVAL = 10.0  # seconds between two lines of progress where there is no terminal


class Terminal(Reporter):
    """Shows what a job does, on stdout, or on stderr where stdout is kept for JSON. Warnings always go to stderr."""

    def __init__(self, stream: TextIO | None = None):
        self._stream = stream or sys.stdout
        self._bar: Progress | None = None
        self._bar_of = ""  # what the bar shows
        self._began = self._reported = time.monotonic()
        self._doing, self._first, self._done = "", 0, 0  # of ``progress``: what, and how many at first and last
        self._last_epoch: int | None = None

    def log(self, line: str) -> None:
        """Print a line."""
        write_line(line, self._stream, self._bar)

    def warn(self, line: str) -> None:
        """Print a warning."""
        write_line(f"warning: {line}", sys.stderr, self._bar)

    def progress(self, what: str, done: int, total: int) -> None:
        """Show a bar on a terminal, elsewhere a line every few seconds."""
        if self._stream.isatty():
            self._show_bar(what, done, total)
            return
        now = time.monotonic()
        if what != self._doing or done <= self._done:  # it has begun just now, with the first items done
            self._doing, self._began, self._first = what, now, done
        self._done = done
        if now - self._reported > PROGRESS_INTERVAL and done > self._first:
            self._reported = now
            left = (now - self._began) / (done - self._first) * (total - done)
            self.log(f"{what}: {done:,} of {total:,}, about {duration(left)} left")

    def download(self, file: str) -> "DownloadBar":
        """Print which file is downloaded, and return a bar for it."""
        self.log(f"downloading {file} …")
        return DownloadBar(file, self._stream)

    def on_step(self, step: "Step") -> None:
        """Show a bar, on a terminal."""
        if self._stream.isatty():
            self._show_bar("training", step.number, step.total)

    def on_epoch_end(self, epoch: "Epoch") -> None:
        """Print a row of the table; the first row of a training with the names of the columns."""
        first = self._last_epoch is None or epoch.epoch <= self._last_epoch
        self._last_epoch = epoch.epoch
        for line in epoch.lines(header=first).splitlines():
            self.log(line)

    def close(self) -> None:
        """Remove a bar that an error or a signal left, so that the cursor comes back."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _show_bar(self, what: str, done: int, total: int) -> None:
        if self._bar is None or self._bar_of != what:
            self.close()
            self._bar, self._bar_of = progress_bar(self._stream), what
            self._bar.start()
            self._bar.add_task(what, total=total)
        self._bar.update(self._bar.task_ids[0], completed=done)
        if done >= total:
            self.close()


def write_line(line: str, stream: TextIO, bar: "Progress | None") -> None:
    """Print a line, above the bar if one is running: otherwise the bar would overwrite it.

    Control characters in it, as names of files may have, are printed as escapes: it stays one line.
    """
    from underhood.data.files import printable  # imports numpy, which --help need not wait for

    if bar is None:
        print(printable(line), file=stream, flush=True)
    else:
        bar.console.print(printable(line), markup=False, emoji=False, highlight=False, soft_wrap=True)


def duration(seconds: float) -> str:
    """For instance ``40 s``, ``12 min`` or ``3.5 h``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


class DownloadBar:
    """A progress bar with pooch's interface. It counts bytes; ``total`` is set once it is known."""

    def __init__(self, file: str, stream: TextIO):
        self.total: float | None = None
        self._bar = progress_bar(stream)
        self._task = self._bar.add_task(file, total=None)
        self._bar.start()
        atexit.register(self._bar.stop)  # pooch does not close it when a mirror fails

    def update(self, count: int) -> None:
        """``count`` more bytes have arrived."""
        self._bar.update(self._task, advance=count, total=self.total)

    def reset(self) -> None:
        """Start again from 0."""
        self._bar.reset(self._task, total=self.total)

    def close(self) -> None:
        """Remove the bar."""
        self._bar.stop()


def progress_bar(stream: TextIO) -> "Progress":
    """A bar that disappears when it is stopped, and is never drawn where there is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    return Progress(*columns, console=Console(file=stream), transient=True, disable=not stream.isatty())
