"""The commands that open a page, or write one."""

from pathlib import Path
from typing import Annotated

import typer

from underhood.cli.app import app, finish, terminal
from underhood.cli.options import Host, Json, Model, NoBrowser, Port, RunFolder


@app.command()
def serve(
    run: Model,
    host: Host = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 picks a free port.")] = 8000,
    collect: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep drawings with the labels that people give them.")
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Also answer to this host name, such as that of a proxy. Repeatable."),
    ] = None,
) -> None:
    """Serve a model over HTTP, with a page to draw on."""
    from underhood.jobs.serve import serve as job

    job(run, host, port, collect, allow_host or (), reporter=terminal(as_json=False))


@app.command()
def lessons(
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Where your copies are kept; existing ones are not overwritten.")
    ] = Path("lessons"),
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Default: the first free port from 2718.")] = None,
    no_browser: NoBrowser = False,
) -> None:
    """Open the course: lessons that you can change, with exercises that are checked."""
    from underhood.jobs.lessons import open_lessons

    open_lessons(out, port, browser=not no_browser, reporter=terminal(as_json=False))


@app.command()
def replay(run: RunFolder, host: Host = "127.0.0.1", port: Port = None, no_browser: NoBrowser = False) -> None:
    """Watch a run's training again: any step, two of them side by side, and when each image was learned."""
    from underhood.jobs.replay import replay as job

    job(run, host, port, browser=not no_browser, reporter=terminal(as_json=False))


@app.command()
def explore(run: RunFolder, as_json: Json = False) -> None:
    """Write explore.html: one file with the network inside, to draw on and to look into, without a server."""
    from underhood.display.tables import exploration
    from underhood.jobs.explore import explore as job

    finish(job(run, reporter=terminal(as_json)), as_json, exploration)


@app.command()
def whatif(
    run: RunFolder,
    without: Annotated[
        list[str] | None, typer.Option(metavar="PATH", help="Leave a training image out. Repeatable.")
    ] = None,
    relabel: Annotated[
        list[str] | None, typer.Option(metavar="PATH=CLASS", help="Give a training image another class. Repeatable.")
    ] = None,
    lr: Annotated[
        list[str] | None,
        typer.Option(metavar="F@STEP", help="Another highest learning rate from a step on, such as 0.003@120."),
    ] = None,
    explain: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="Follow an image; alone: find the training images that cause its answer."),
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Keep the changed run in this folder.")] = None,
    as_json: Json = False,
) -> None:
    """Train a run again with something changed and everything else equal, and say what that changes."""
    from underhood.display.whatif_tables import whatif_table
    from underhood.jobs.whatif import whatif as job

    changed = without or (), relabel or (), lr or ()
    finish(job(run, *changed, explain, out, reporter=terminal(as_json)), as_json, whatif_table)
