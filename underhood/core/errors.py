"""What can go wrong, as a tree. Each message is one line that names the file and the mend.

UnderhoodError          the command line prints it and exits with 1
├── DataError           the pictures or their labels
│   └── UnreadableError some pictures cannot be read; ``.unreadable`` lists all of them
├── RunError            a run folder: not one, newer than this version, in the way
├── DivergedError       the loss is no longer a number
├── InterruptedRunError told to stop; exits with 130 or 143
└── UnknownNameError    a name that nobody knows, with a suggestion; exits with 2
"""

import difflib
from collections.abc import Iterable


class UnderhoodError(Exception):
    """Something the user can mend. Its text says what and how."""


class DataError(UnderhoodError):
    """The pictures or their labels cannot be used as they are."""


class UnreadableError(DataError):
    """Some pictures cannot be read. ``unreadable`` maps each path to the reason."""

    def __init__(self, unreadable: dict[str, str]):
        self.unreadable = unreadable
        count = f"{len(unreadable)} picture{'s' if len(unreadable) > 1 else ''}"
        lines = [f"{count} cannot be read; mend or remove, or leave out with --skip-bad:"]
        lines += [f"  {path}: {reason}" for path, reason in unreadable.items()]
        super().__init__("\n".join(lines))


class RunError(UnderhoodError):
    """A run folder cannot be read or written."""


class InterruptedRunError(UnderhoodError):
    """A run was told to stop, by SIGINT or SIGTERM; its state is saved. ``code``: 130 or 143, as shells have it."""

    def __init__(self, folder: object, signal: int):
        self.code = 128 + signal
        super().__init__(f"interrupted; the state is saved. Go on with: underhood train --resume {folder}")


class DivergedError(UnderhoodError):
    """The loss is no longer a number. ``step``: of the run, from 1 on."""

    def __init__(self, message: str, step: int):
        self.step = step
        super().__init__(message)


class UnknownNameError(UnderhoodError):
    """A name that is none of ``known``; the message suggests the nearest."""

    def __init__(self, what: str, name: str, known: Iterable[str], hint: str = ""):
        known = list(known)
        near = difflib.get_close_matches(name.lower(), known, n=1)
        mend = (f"did you mean {near[0]!r}? " if near else "") + f"known: {', '.join(known)}"
        super().__init__(f"unknown {what} {name!r}: {mend}{hint}")
