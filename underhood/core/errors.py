"""The errors that a user can meet. Each message says what is wrong and how to fix it.

The command line prints it and exits with 1, but with 2 for an UnknownNameError and with an InterruptedRunError's code.
"""

import difflib
from collections.abc import Iterable


class UnderhoodError(Exception):
    """An error that the user can fix. Its text says what is wrong and how to fix it."""


class DataError(UnderhoodError):
    """The images or their labels cannot be used as they are."""


class UnreadableError(DataError):
    """Some images cannot be read. ``unreadable`` maps each path to the reason."""

    def __init__(self, unreadable: dict[str, str]):
        self.unreadable, count = unreadable, len(unreadable)
        first = f"{count} image{'s' * (count > 1)} cannot be read; fix or remove, or use --skip-bad:"
        super().__init__("\n".join([first, *(f"  {path}: {reason}" for path, reason in unreadable.items())]))


class RunError(UnderhoodError):
    """A run folder cannot be read or written."""


class InterruptedRunError(UnderhoodError):
    """SIGINT or SIGTERM stopped a run; its state is saved. ``code`` is the shell's exit code, 130 or 143."""

    def __init__(self, folder: object, signal: int):
        self.code = 128 + signal
        super().__init__(f"interrupted; the state is saved. Continue with: underhood train --resume {folder}")


class DivergedError(UnderhoodError):
    """The loss is NaN or infinite. ``step`` counts the run's steps from 1."""

    def __init__(self, message: str, step: int):
        self.step = step
        super().__init__(message)


class UnknownNameError(UnderhoodError):
    """A name that is none of ``known``; the message suggests the nearest."""

    def __init__(self, what: str, name: str, known: Iterable[str], hint: str = ""):
        known = list(known)
        near = difflib.get_close_matches(name.lower(), known, n=1)
        fix = (f"did you mean {near[0]!r}? " if near else "") + f"known: {', '.join(known)}"
        super().__init__(f"unknown {what} {name!r}: {fix}{hint}")
