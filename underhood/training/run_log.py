"""``log.txt``: what a run said, and how long it took."""

from datetime import UTC, datetime
from pathlib import Path

from underhood.core.errors import RunError
from underhood.training.reporter import Listener


class Log:
    """``log.txt``, with the time of each line; what comes before the run folder exists is kept until then."""

    def __init__(self, listener: Listener):
        self._listener, self._path, self._early = listener, None, []  # type: Listener, Path | None, list[str]

    def say(self, line: str) -> None:
        """Tell the listener, and write it down."""
        self._listener.say(line)
        self.write(line)

    def warn(self, line: str) -> None:
        """Warn the listener, and write it down."""
        self._listener.warn(line)
        self.write(f"warning: {line}")

    def open(self, path: Path) -> None:
        """From now on lines go to this file, those that were kept first. Raises RunError."""
        self._path = path
        self._append("".join(self._early))

    def write(self, line: str) -> None:
        """Write a line with its time, in UTC. Raises RunError."""
        stamped = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {line}\n"
        if self._path is None:
            self._early.append(stamped)
        else:
            self._append(stamped)

    def _append(self, text: str) -> None:
        assert self._path is not None
        try:
            with self._path.open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
        except OSError as error:
            raise RunError(
                f"cannot write {self._path} ({error.strerror}): make room or start anew with --out"
            ) from None
