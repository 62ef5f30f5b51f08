"""Ctrl-C, a termination, a second process: how a run under way is told to stop, and kept to itself."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from underhood.core.errors import InterruptedRunError, RunError


class Wish:
    """``signal`` is the number of the signal that asked to stop, or None."""

    signal: int | None = None

    def heed(self, folder: Path) -> None:
        """Raise InterruptedRunError if somebody wants the run to stop."""
        if self.signal is not None:
            raise InterruptedRunError(folder, self.signal)


@contextmanager
def stopping() -> Iterator[Wish]:
    """Within, the first SIGINT or SIGTERM becomes a wish that the run heeds after its step; the second ends at once."""
    wish = Wish()
    if threading.current_thread() is not threading.main_thread():  # only the main thread may ask
        yield wish
        return

    def ask(number: int, _: FrameType | None) -> None:
        wish.signal = number
        signal.signal(number, signal.SIG_DFL)

    earlier = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield wish
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Within, no other process can train in this folder. A process that dies lets go. Raises RunError."""
    from filelock import FileLock, Timeout

    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RunError(f"another process is training in {folder}: wait for it, or choose another folder") from None
    except OSError as error:
        raise RunError(f"cannot lock {folder} ({error.strerror}): it must be a folder that can be written in") from None
    try:
        yield
    finally:
        with suppress(OSError):
            (folder / ".lock").unlink()
        lock.release()
