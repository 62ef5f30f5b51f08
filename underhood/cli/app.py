"""The command line's application, and how a command reports: progress while it works, then a result as text or JSON."""

import atexit
import json
import sys
from collections.abc import Callable, Mapping
from typing import Annotated, Any, NoReturn

import typer

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train an image classifier with the hood open: from labelled images to a measured model.",
)


def terminal(as_json: bool) -> Any:
    """A reporter that prints progress: on stdout, or on stderr where stdout is kept for JSON."""
    from underhood.display.terminal import Terminal

    reporter = Terminal(sys.stderr if as_json else sys.stdout)
    atexit.register(reporter.close)  # gives the cursor back where an error cuts a progress bar short
    return reporter


def finish(result: Mapping[str, Any] | None, as_json: bool, as_text: Callable[[Any], str], code: int = 0) -> NoReturn:
    """Print the result as JSON or as text, and exit. With several processes, all but the main one have no result."""
    from underhood.display.tables import shown

    if result is None:
        raise typer.Exit
    text = json.dumps(result, allow_nan=False) if as_json else shown(result, as_text)
    typer.echo(text, color=True)  # or it would drop parts of names from CSV, as if they were colours
    raise typer.Exit(code)


def _print_version(wanted: bool) -> None:
    if wanted:
        from underhood import __version__

        typer.echo(f"underhood {__version__}")
        raise typer.Exit


@app.callback()
def _root(version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True)] = False) -> None:
    pass
