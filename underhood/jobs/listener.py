"""How a job tells what it does, without knowing who listens."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from underhood.training.learner import Epoch, Step


class Listener:
    """Hears what a job does. This one keeps quiet; override what you want to show."""

    def say(self, line: str) -> None:
        """Something that was chosen or done."""

    def warn(self, line: str) -> None:
        """Something to look at."""

    def progress(self, what: str, done: int, total: int) -> None:
        """``done`` of ``total`` pictures are, for instance, read."""

    def download(self, file: str) -> Any:  # noqa: ARG002
        """A progress bar such as pooch takes, or False for none."""
        return False

    def watch(self, steps: "Iterator[Step]") -> "Iterator[Step]":
        """Wraps the training steps."""
        return steps

    def row(self, epoch: "Epoch") -> None:
        """An epoch is done."""

    def reading(self) -> Callable[[int, int], None]:
        """``progress`` for reading pictures."""
        return partial(self.progress, "reading pictures")


class Log:
    """``log.txt``, with the time of each line; what comes before the run folder exists is kept until then."""

    def __init__(self, listener: Listener):
        self._listener, self._path, self._early = listener, None, []  # type: Listener, Path | None, list[str]

    def say(self, line: str) -> None:
        self._listener.say(line)
        self.write(line)

    def warn(self, line: str) -> None:
        self._listener.warn(line)
        self.write(f"warning: {line}")

    def open(self, path: Path) -> None:
        self._path = path
        self._append("".join(self._early))

    def write(self, line: str) -> None:
        stamped = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {line}\n"
        if self._path is None:
            self._early.append(stamped)
        else:
            self._append(stamped)

    def _append(self, text: str) -> None:
        assert self._path is not None
        with self._path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
