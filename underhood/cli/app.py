"""The commands and their flags."""

from pathlib import Path
from typing import Annotated

import typer

from underhood.cli.answers import finish, listener
from underhood.cli.flags import (
    DATA_HELP,
    BatchSize,
    Channels,
    Data,
    Device,
    Effort,
    Epochs,
    Fit,
    Json,
    Limit,
    Model,
    NoCache,
    Optimizer,
    Precision,
    RunFolder,
    Seed,
    Size,
    SkipBad,
    Valid,
    one_of,
    part,
    rate,
)

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


def _was_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


@app.command()
def train(
    context: typer.Context,
    data: Data = "digits",
    model: Model = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    lr: Annotated[float | None, typer.Option(callback=rate, help="Highest learning rate: 0.01.")] = None,
    schedule: Annotated[str, typer.Option(help="onecycle or flat.")] = "onecycle",
    optimizer: Optimizer = "adamw",
    effort: Effort = "normal",
    balance: Annotated[
        str, typer.Option(help="For rare classes: none, weights (in the loss) or sampler (drawn more often).")
    ] = "none",
    precision: Precision = None,
    size: Size = None,
    channels: Channels = None,
    fit: Fit = None,
    valid: Valid = None,
    seed: Seed = 0,
    device: Device = "auto",
    out: Annotated[Path | None, typer.Option(help="The run folder. runs/DATA-MODEL-n.")] = None,
    from_run: Annotated[
        Path | None, typer.Option("--from", metavar="RUN", help="Start from another run's weights.")
    ] = None,
    limit: Limit = None,
    skip_bad: SkipBad = False,
    no_cache: NoCache = False,
    save_every: Annotated[float, typer.Option(min=0, help="Seconds between two saved states within an epoch.")] = 30.0,
    reject: Annotated[
        float, typer.Option(callback=part, help="Of how many validation pictures the model is to say: not sure.")
    ] = 0.01,
    resume: Annotated[Path | None, typer.Option(metavar="RUN", help="Go on with a run that was ended; alone.")] = None,
    no_report: Annotated[bool, typer.Option("--no-report", help="Leave report.html out.")] = False,
    as_json: Json = False,
) -> None:
    """Train a classifier on DATA (the embedded digits without one) and leave a run folder."""
    from underhood import jobs, tables

    if resume is not None:
        given = [name for name in context.params if name not in ("resume", "as_json") and _was_given(context, name)]
        if given:
            raise typer.BadParameter("stands alone: the run knows the rest", param_hint="--resume")
        resumed = jobs.resume(resume, listener=listener(as_json))
        finish(resumed, as_json, tables.summary)
    result = jobs.train(
        data, model=model, epochs=epochs, batch_size=batch_size, lr=lr, schedule=schedule, optimizer=optimizer,
        effort=effort, balance=balance, precision=precision, size=size, channels=channels, fit=fit, valid=valid,
        seed=seed, device=device, out=out, from_run=from_run, limit=limit, skip_bad=skip_bad, cache=not no_cache,
        save_every=save_every, reject=reject, report=not no_report, listener=listener(as_json),
    )  # fmt: skip
    finish(result, as_json, tables.summary)


@app.command()
def rerun(
    run: RunFolder,
    seed: Annotated[int | None, typer.Option(min=0, max=2**32 - 1, help="Another than the run's.")] = None,
    out: Annotated[Path | None, typer.Option(help="The new run folder. runs/DATA-MODEL-n.")] = None,
    as_json: Json = False,
) -> None:
    """Train again from a run's record, and say what differs: exit code 1 where a figure does."""
    from underhood import jobs, tables

    result = jobs.rerun(run, seed=seed, out=out, listener=listener(as_json))
    code = 1 if any(one["what"] == "figure" for one in result.get("differs", ())) else 0
    finish(result, as_json, tables.differences_table, code=code)


@app.command()
def report(run: RunFolder, as_json: Json = False) -> None:
    """Write a run's report.html again: how good it is, where it is wrong, what is inside."""
    from underhood import jobs

    written = jobs.report(run, listener=listener(as_json))
    finish(written, as_json, lambda of: f"wrote {of['report']} ({of['bytes'] / 1e6:.1f} MB)")


@app.command()
def ladder(
    data: Data = "digits",
    epochs: Epochs = None,
    size: Size = None,
    channels: Channels = None,
    fit: Fit = None,
    valid: Valid = None,
    seed: Seed = 0,
    device: Device = "auto",
    limit: Limit = None,
    skip_bad: SkipBad = False,
    no_cache: NoCache = False,
    as_json: Json = False,
) -> None:
    """Train pixel similarity, linear, net, conv, vgg and resnet18 on one split, and compare them."""
    from underhood import jobs, tables

    result = jobs.ladder(
        data, epochs=epochs, size=size, channels=channels, fit=fit, valid=valid, seed=seed, device=device, limit=limit,
        skip_bad=skip_bad, cache=not no_cache, listener=listener(as_json),
    )  # fmt: skip
    finish(result, as_json, tables.ladder_table)


@app.command("lr-find")
def lr_find(
    data: Data = "digits",
    model: Model = None,
    batch_size: BatchSize = None,
    optimizer: Optimizer = "adamw",
    effort: Effort = "normal",
    precision: Precision = None,
    size: Size = None,
    channels: Channels = None,
    fit: Fit = None,
    valid: Valid = None,
    seed: Seed = 0,
    device: Device = "auto",
    limit: Limit = None,
    skip_bad: SkipBad = False,
    no_cache: NoCache = False,
    out: Annotated[Path, typer.Option(help="Where the curve is drawn.")] = Path("lr-find.png"),
    as_json: Json = False,
) -> None:
    """Look for a learning rate: train briefly while it grows, and draw the loss."""
    from underhood import jobs, tables

    result = jobs.lr_find(
        data, model=model, batch_size=batch_size, optimizer=optimizer, effort=effort,
        precision=precision, size=size, channels=channels, fit=fit,
        valid=valid, seed=seed, device=device, limit=limit, skip_bad=skip_bad, cache=not no_cache, figure=out,
        listener=listener(as_json),
    )  # fmt: skip
    finish(result, as_json, tables.rate_report)


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
    from underhood import jobs, tables

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
    from underhood import jobs, tables

    result = jobs.evaluate(run, data, skip_bad=skip_bad, cache=not no_cache, listener=listener(as_json))
    finish(result, as_json, tables.evaluation_table)


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Two run folders or more.", metavar="RUN RUN...")],
    as_json: Json = False,
) -> None:
    """Runs side by side on the same pictures: better, worse than the first, or cannot tell."""
    from underhood import jobs, tables

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
    from underhood import jobs, tables

    result = jobs.predict(run, paths, listener=listener(as_json or as_csv))
    for path, reason in result["unreadable"].items():
        typer.echo(f"error: {path} {reason}", err=True)
    words = tables.predictions_csv if as_csv else tables.predictions_table
    finish(result, as_json, words, code=1 if result["unreadable"] else 0)


@app.command()
def export(run: RunFolder, as_json: Json = False) -> None:
    """Write model.onnx, for other tools and machines without torch, and certify that it says the same."""
    from underhood import jobs, tables

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
    from underhood import tables
    from underhood.books.reproduce import reproduce as compute

    result = compute(full, listener=listener(as_json))
    if "interrupted" in result:
        typer.echo(f"error: interrupted; reached: {result['interrupted']}", err=True)
    code = 130 if "interrupted" in result else 1 if result["differs"] else 0
    finish(result, as_json, tables.reproduction_table, code=code)
