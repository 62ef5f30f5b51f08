"""The commands that train."""

from pathlib import Path
from typing import Annotated

import typer

from underhood.cli.options import (
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
    part,
    rate,
)
from underhood.cli.output import finish, listener
from underhood.cli.root import app


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
    track: Annotated[
        str | None, typer.Option(help="tensorboard: also write losses, rate and metrics to RUN/tensorboard.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Train a classifier on DATA (the embedded digits without one) and leave a run folder."""
    from underhood import jobs
    from underhood.display import tables

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
        save_every=save_every, reject=reject, report=not no_report, track=track, listener=listener(as_json),
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
    from underhood import jobs
    from underhood.display import tables

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
    from underhood import jobs
    from underhood.display import tables

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
    from underhood import jobs
    from underhood.display import tables

    result = jobs.lr_find(
        data, model=model, batch_size=batch_size, optimizer=optimizer, effort=effort,
        precision=precision, size=size, channels=channels, fit=fit,
        valid=valid, seed=seed, device=device, limit=limit, skip_bad=skip_bad, cache=not no_cache, figure=out,
        listener=listener(as_json),
    )  # fmt: skip
    finish(result, as_json, tables.rate_report)
