"""The command line: arguments in, a job called, a table or JSON out. Nothing is computed here."""

import gc
import os
import signal
import sys
from collections.abc import Sequence

GC_THRESHOLD = 200_000  # objects: importing torch makes more that stay, and collecting them takes 0.3 s

NO_MEMORY = (  # in errors of torch, of threads, and of libraries that cannot be loaded
    "not enough memory", "out of memory", "can't allocate memory", "cannot allocate memory (", "bad_alloc",
    "start new thread", "failed to map segment",
)  # fmt: skip


def main() -> None:
    """Run the command line and exit: 0 done, 1 failed or bad data, 2 bad flags, 130 and 143 interrupted."""
    try:
        sys.exit(_run())
    except KeyboardInterrupt:
        sys.exit(_print_error("interrupted", 130))
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # nothing is left to clean up


def _run() -> int:
    gc.set_threshold(GC_THRESHOLD)
    os.environ["MPLBACKEND"] = "agg"  # figures are files: a screen is not needed, and a wrong name does no harm
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_print_error("terminated", 143)))  # and so clean up on the way
    from underhood.cli.commands import app
    from underhood.core.errors import UnderhoodError, UnknownNameError, UnreadableError

    _open_streams()
    try:
        app(prog_name="underhood")
    except UnknownNameError as error:
        return _print_error(str(error), 2)
    except UnreadableError as error:
        first = str(error).splitlines()[0]
        return _print_error(first, 1, [f"  {path}: {reason}" for path, reason in error.unreadable.items()])
    except UnderhoodError as error:
        return _print_error(str(error), getattr(error, "code", 1))
    except (MemoryError, RuntimeError, ImportError) as error:
        if not _lacks_memory(error):
            raise
        reason = str(error).strip().split("\n")[0].rpartition("Allocator: ")[2]
        advice = "choose a smaller --batch-size or --size, or a --limit"
        return _print_error(f"not enough memory ({reason or type(error).__name__}): {advice}", 1)
    except BrokenPipeError:  # the reader of our output is gone, as with `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # a full disk, a folder that was removed: something that the user can fix
        name = f"{error.filename}: " if error.filename else ""
        return _print_error(f"{name}{error.strerror or error}", 1)
    except SystemExit as ended:
        if ended.code == 130:
            _print_error("interrupted", 130)
        raise
    return 0


def _lacks_memory(error: Exception) -> bool:
    """Whether a lack of memory is the reason. torch has no error class for it on the CPU, and words by version."""
    return isinstance(error, MemoryError) or any(words in str(error).lower() for words in NO_MEMORY)


def _open_streams() -> None:
    """Give output somewhere to go where a stream is closed. File names may hold bytes that are not text."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: PTH123, SIM115 (for as long as the process lives)
        getattr(sys, name).reconfigure(errors="backslashreplace")


def _print_error(message: str, code: int, more: Sequence[str] = ()) -> int:
    """Print an error, and more lines. Control characters in names are printed as escapes: they make no line."""
    for line in (f"error: {message}", *more):
        if not line.isprintable():
            from underhood.data.files import printable  # imports numpy

            line = printable(line)
        print(line, file=sys.stderr)  # noqa: T201 (the one place that prints errors)
    return code
