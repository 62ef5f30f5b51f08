"""The command line: arguments in, a job called, a table or JSON out. Nothing is computed here."""

import sys


def main() -> None:
    """Run the command line and exit: 0 done, 1 failed or bad data, 2 bad flags, 130 interrupted."""
    from underhood.cli.app import app
    from underhood.errors import UnderhoodError, UnknownNameError

    for stream in (sys.stdout, sys.stderr):  # file names may hold bytes that are not text
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        app(prog_name="underhood")
    except UnknownNameError as error:
        sys.exit(_complain(str(error), 2))
    except UnderhoodError as error:
        sys.exit(_complain(str(error), 1))
    except OSError as error:  # a disk that fills, a folder that goes away: the user's to mend, not a bug
        name = f"{error.filename}: " if error.filename else ""
        sys.exit(_complain(f"{name}{error.strerror or error}", 1))
    except KeyboardInterrupt:
        sys.exit(_complain("interrupted", 130))


def _complain(message: str, code: int) -> int:
    print(f"error: {message}", file=sys.stderr)  # noqa: T201 (the one place that says what went wrong)
    return code
