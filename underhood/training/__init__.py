"""How training reports what it does: progress messages for the caller, and ``log.txt`` for the run folder."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from underhood.core.errors import RunError

if TYPE_CHECKING:
    from underhood.core.learner import Epoch, Step
    from underhood.training.interventions import Steering
    from underhood.training.learners import Setup
    from underhood.training.run import StopFlag


class Reporter:
    """Receives progress messages of a job. This one discards them; override what you want to show."""

    def log(self, line: str) -> None:
        """A choice that was made, or something that was done."""

    def warn(self, line: str) -> None:
        """Something to look at."""

    def progress(self, what: str, done: int, total: int) -> None:
        """``done`` of ``total`` items are done; what: for instance "reading images"."""

    def download(self, file: str) -> Any:  # noqa: ARG002
        """A progress bar as pooch takes it, or False for none."""
        return False

    def on_step(self, step: "Step") -> None:
        """A training step was taken."""

    def on_epoch_end(self, epoch: "Epoch") -> None:
        """An epoch was trained and validated."""

    def read_progress(self) -> Callable[[int, int], None]:
        """``progress`` for reading images, as a function of (done, total)."""
        return partial(self.progress, "reading images")


class Watcher:
    """Watches a training from inside, and may change it by hand. This one does nothing: ``live/`` has another."""

    @contextmanager
    def watch(self, setup: "Setup", steering: "Steering", stop: "StopFlag") -> Iterator[None]:  # noqa: ARG002
        """Within, a training runs."""
        yield

    def waited(self) -> float:
        """Seconds that the training has waited for this watcher since the last call: it was paused."""
        return 0.0

    def after_step(self, step: "Step") -> None:
        """A step was taken. The training waits until this returns."""

    def on_epoch_end(self, epoch: "Epoch") -> None:
        """An epoch was trained and validated. The training waits until this returns."""


class RunLog:
    """``log.txt``: each line with its time, in UTC. Lines from before the run folder exists are kept until then."""

    def __init__(self, reporter: Reporter):
        self.reporter = reporter
        self._path: Path | None = None
        self._early: list[str] = []

    def log(self, line: str) -> None:
        """Report a line, and write it. Raises RunError."""
        self.reporter.log(line)
        self.write(line)

    def warn(self, line: str) -> None:
        """Report a warning, and write it. Raises RunError."""
        self.reporter.warn(line)
        self.write(f"warning: {line}")

    def open(self, path: Path) -> None:
        """Write to this file from now on, the lines that were kept first. Raises RunError."""
        self._path = path
        self._append("".join(self._early))

    def write(self, line: str) -> None:
        """Write a line without reporting it. Raises RunError."""
        from datetime import UTC, datetime

        from underhood.data.files import printable  # a name with a line end in it forges no line

        stamped = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {printable(line)}\n"
        if self._path is None:
            self._early.append(stamped)
        else:
            self._append(stamped)

    def _append(self, text: str) -> None:
        assert self._path is not None
        try:
            with open(self._path, "a", encoding="utf-8", errors="backslashreplace", opener=_open_no_link) as file:
                file.write(text)
        except OSError as error:
            raise RunError(
                f"cannot write {self._path} ({error.strerror}): free some space or start again with --out"
            ) from None


def _open_no_link(path: str, flags: int) -> int:
    """Open a file, but follow no link and wait for no pipe: the run may come from somebody else."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0), 0o666)
