"""The command line's root: ``underhood --help`` and ``--version``."""

from typing import Annotated

import typer

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train an image classifier with the hood open: from labelled pictures to a measured model.",
)


def _version(wanted: bool) -> None:
    if wanted:
        from underhood import __version__

        typer.echo(f"underhood {__version__}")
        raise typer.Exit


@app.callback()
def _root(version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)] = False) -> None:
    pass
