"""The commands that look at data, and at a trained run, or put it to work."""

from pathlib import Path
from typing import Annotated

import typer

from underhood.cli.options import (
    DATA_HELP,
    Data,
    Json,
    NoCache,
    RunFolder,
    SkipBad,
    one_of,
)
from underhood.cli.output import finish, listener
from underhood.cli.root import app


@app.command()
def check(
    data: Data = "digits",
    labels: Annotated[
        bool, typer.Option("--labels", help="Also train five models, and list the labels that they doubt.")
    ] = False,
    no_cache: NoCache = False,
    as_json: Json = False,
) -> None:
    """Look for unreadable files, one picture in two classes, copies, leaks between parts, and wrong labels."""
    from underhood import jobs
    from underhood.display import tables

    result = jobs.check(data, labels=labels, cache=not no_cache, listener=listener(as_json))
    finish(result, as_json, tables.check_report, code=1 if result["unreadable"] or result["conflicts"] else 0)


@app.command()
def evaluate(
    run: RunFolder,
    data: Annotated[str | None, typer.Argument(help=f"The run's own by default. {DATA_HELP}", metavar="DATA")] = None,
    skip_bad: SkipBad = False,
    no_cache: NoCache = False,
    as_json: Json = False,
) -> None:
    """Measure a run on the pictures it was validated on, or on other labelled pictures."""
    from underhood import jobs
    from underhood.display import tables

    result = jobs.evaluate(run, data, skip_bad=skip_bad, cache=not no_cache, listener=listener(as_json))
    finish(result, as_json, tables.evaluation_table)


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Two run folders or more.", metavar="RUN RUN...")],
    as_json: Json = False,
) -> None:
    """Runs side by side on the same pictures: better, worse than the first, or cannot tell."""
    from underhood import jobs
    from underhood.display import tables

    finish(jobs.compare(*runs), as_json, tables.comparison_table)


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(help="A run folder, or an exported model.onnx.", metavar="RUN")],
    paths: Annotated[
        list[Path], typer.Argument(help="Pictures, folders of pictures, - for standard input.", metavar="PATH...")
    ],
    as_csv: Annotated[bool, typer.Option("--csv", help="Comma-separated: path, label, score, rejected.")] = False,
    as_json: Json = False,
) -> None:
    """Say what each picture shows, or that the model is not sure."""
    from underhood import jobs
    from underhood.display import tables

    result = jobs.predict(run, paths, listener=listener(as_json or as_csv))
    for path, reason in result["unreadable"].items():
        typer.echo(f"error: {path} {reason}", err=True)
    words = tables.predictions_csv if as_csv else tables.predictions_table
    finish(result, as_json, words, code=1 if result["unreadable"] else 0)


@app.command()
def export(run: RunFolder, as_json: Json = False) -> None:
    """Write model.onnx, for other tools and machines without torch, and certify that it says the same."""
    from underhood import jobs
    from underhood.display import tables

    finish(jobs.export(run, listener=listener(as_json)), as_json, tables.certificate)


@app.command()
def serve(
    run: Annotated[Path, typer.Argument(help="A run folder, or an exported model.onnx.", metavar="RUN")],
    host: Annotated[str, typer.Option(help="Who may ask: 127.0.0.1 this machine, 0.0.0.0 everyone.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any that is free.")] = 8000,
    collect: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep what people say that they drew, a folder a class.")
    ] = None,
) -> None:
    """Serve a model over HTTP, with a page to draw on."""
    from underhood.serving.server import serve as listen

    listen(run, host, port, collect)


@app.command()
def lessons(
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Where your copies are kept: those that are there stay as they are.")
    ] = Path("lessons"),
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="A free one from 2718 on.")] = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the address.")] = False,
) -> None:
    """Open the lessons: the books' road, walked by running code."""
    from underhood.jobs.lessons import open_lessons

    open_lessons(out, port, browser=not no_browser)


@app.command()
def get(
    name: Annotated[
        str | None, typer.Argument(help="digits, mnist, mnist-3v7 or fashion-mnist.", metavar="NAME")
    ] = None,
    folder: Annotated[Path | None, typer.Argument(help="Where --as folder writes.", metavar="DIR")] = None,
    form: Annotated[
        str | None, typer.Option("--as", callback=one_of("folder"), help="folder: a folder per class, as PNG files.")
    ] = None,
    clear_cache: Annotated[
        bool, typer.Option("--clear-cache", help="Remove the decoded pixels that are kept of folders.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Fetch a data set by name, or write it out: underhood get NAME --as folder DIR."""
    from underhood import jobs

    if clear_cache:
        if name or folder or form:
            raise typer.BadParameter("stands alone: underhood get --clear-cache", param_hint="--clear-cache")
        cleared = jobs.clear_cache()
        finish(cleared, as_json, lambda of: f"removed {of['bytes'] / 1e6:,.1f} MB from {of['path']}")
    if name is None:
        raise typer.BadParameter("write which data set to fetch, or --clear-cache", param_hint="NAME")
    if (form is None) != (folder is None):
        raise typer.BadParameter("write `--as folder DIR`, with both", param_hint="--as")
    result = jobs.get(name, folder, listener=listener(as_json))
    wrote = f"{result['images']:,} pictures in " if "images" in result else ""
    finish(result, as_json, lambda of: f"{name}: {wrote}{of['path']}")


@app.command()
def reproduce(
    full: Annotated[bool, typer.Option("--full", help="Also the long job's end: 3,500 iterations, minutes.")] = False,
    as_json: Json = False,
) -> None:
    """Compute every figure that the books print, and compare. Needs mnist."""
    from underhood.display import tables
    from underhood.jobs.reproduce import reproduce as compute

    result = compute(full, listener=listener(as_json))
    if "interrupted" in result:
        typer.echo(f"error: interrupted; reached: {result['interrupted']}", err=True)
    code = 130 if "interrupted" in result else 1 if result["differs"] else 0
    finish(result, as_json, tables.reproduction_table, code=code)
