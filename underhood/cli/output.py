"""What every command does at its end, and whom it tells what it does."""

import atexit
import json
import sys
from collections.abc import Callable
from typing import Any

import typer


def listener(as_json: bool) -> Any:
    from underhood.display.terminal import Terminal

    terminal = Terminal(sys.stderr if as_json else sys.stdout)
    atexit.register(terminal.close)  # a bar that an error cuts short gives the cursor back
    return terminal


def finish(result: dict[str, Any], as_json: bool, words: Callable[[dict[str, Any]], str], code: int = 0) -> None:
    """Print the result, as JSON or as words, and exit with the code. Of several processes only the first has one."""
    if not result:
        raise typer.Exit
    typer.echo(json.dumps(result, allow_nan=False) if as_json else words(result))
    raise typer.Exit(code)
