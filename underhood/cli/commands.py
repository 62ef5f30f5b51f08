"""The commands: each calls the job of its name and prints the result."""

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from underhood.cli import doctor, pages  # noqa: F401 (add their commands)
from underhood.cli.app import app, finish, terminal
from underhood.cli.options import (
    DATA_HELP,
    FIELDS,
    Data,
    Host,
    Json,
    Model,
    NoBrowser,
    NoCache,
    Out,
    Port,
    RunFolder,
    SkipBad,
    Token,
    VerifyCache,
    train_flags,
)

READING = (
    "size", "channels", "fit", "valid", "seed", "device", "group_by", "limit", "skip_bad", "cache", "verify_cache",
)  # fmt: skip


@app.command()
@train_flags()
def train(
    context: typer.Context,
    data: Data = "digits",
    out: Out = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Continue an interrupted run; takes no other flags but --live.")
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", help="Open a page on which the training can be watched, paused and steered.")
    ] = False,
    host: Host = "127.0.0.1",
    port: Port = None,
    token: Token = None,
    no_browser: NoBrowser = False,
    as_json: Json = False,
    **options: Any,
) -> None:
    """Train a classifier on DATA (by default the embedded digits) and leave a run folder."""
    from underhood.display.tables import summary
    from underhood.jobs import train as job

    sources = {name: context.get_parameter_source(name) for name in context.params}
    given = {name for name, source in sources.items() if source is not None and source.name != "DEFAULT"}
    if not live and (wrong := given & {"host", "port", "token", "no_browser"}):
        raise typer.BadParameter("needs --live", param_hint="--" + min(wrong).replace("_", "-"))
    if resume is not None and given - {"resume", "as_json", "live", "host", "port", "token", "no_browser"}:
        raise typer.BadParameter("takes no other flags: the run has them", param_hint="--resume")
    reporter = terminal(as_json)
    with _watched(live, host, port, token, not no_browser, reporter) as watcher:
        if resume is not None:
            result = job.resume(resume, reporter=reporter, watcher=watcher)
        else:
            result = job.train(data, out=out, reporter=reporter, watcher=watcher, **options)
    finish(result, as_json, summary)


def _watched(live: bool, host: str, port: int | None, token: str | None, browser: bool, reporter: Any) -> Any:
    """The watcher of a live page, as a context; that of none."""
    if not live:
        return nullcontext()
    from underhood.live.server import live_page

    return live_page(host, port, token, browser, reporter=reporter)


@app.command()
def rerun(
    run: RunFolder,
    seed: Annotated[int | None, typer.Option(min=0, max=2**32 - 1, help="Use another seed than the run's.")] = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Train again from a run's record, and report what differs: exit code 1 where a figure does."""
    from underhood.display.tables import differences_table
    from underhood.jobs.rerun import rerun as job

    result = job(run, seed=seed, out=out, reporter=terminal(as_json))
    differs = result["differs"] if result else []
    finish(result, as_json, differences_table, code=1 if any(one["what"] == "figure" for one in differs) else 0)


@app.command()
def report(run: RunFolder, as_json: Json = False) -> None:
    """Write a run's report.html again: how good it is, where it is wrong, what is inside."""
    from underhood.jobs.report import report as job

    written = job(run, reporter=terminal(as_json))
    finish(written, as_json, lambda of: f"wrote {of['report']} ({of['bytes'] / 1e6:.1f} MB)")


@app.command()
@train_flags("epochs", "folds", *READING)
def ladder(data: Data = "digits", as_json: Json = False, **options: Any) -> None:
    """Train models from pixel similarity to a backbone on one split, compare them, and say what more images gain."""
    from underhood.display.tables import ladder_table
    from underhood.jobs.ladder import ladder as job

    finish(job(data, reporter=terminal(as_json), **options), as_json, ladder_table)


@app.command("lr-find")
@train_flags("model", "tune", "weights", "batch_size", "optimizer", "effort", "precision", *READING)
def lr_find(
    data: Data = "digits",
    out: Annotated[Path, typer.Option(help="Where the curve is drawn.")] = Path("lr-find.png"),
    as_json: Json = False,
    **options: Any,
) -> None:
    """Look for a learning rate: train briefly while it grows, and draw the loss."""
    from underhood.display.tables import lr_report
    from underhood.jobs.lr_find import lr_find as job

    finish(job(data, figure=out, reporter=terminal(as_json), **options), as_json, lr_report)


@app.command()
def check(
    data: Data = "digits",
    leaks: Annotated[
        bool, typer.Option("--leaks", help="Also train one or two models: the accuracy with and without leaks.")
    ] = False,
    labels: Annotated[
        bool, typer.Option("--labels", help="Also train five models, and list label issues: labels that may be wrong.")
    ] = False,
    group_by: Annotated[str | None, typer.Option(help=FIELDS["group_by"].metadata["help"])] = None,
    no_cache: NoCache = False,
    verify_cache: VerifyCache = False,
    as_json: Json = False,
) -> None:
    """Find unreadable files, duplicates, near-duplicates, leaks between parts and, if asked, wrong labels."""
    from underhood.display.check_tables import check_report
    from underhood.jobs.check import check as job

    reading: dict[str, Any] = {"group_by": group_by, "cache": not no_cache, "verify_cache": verify_cache}
    result = job(data, leaks=leaks, labels=labels, reporter=terminal(as_json), **reading)
    finish(result, as_json, check_report, code=1 if result["unreadable"] or result["conflicts"] else 0)


@app.command()
def evaluate(
    run: RunFolder,
    data: Annotated[str | None, typer.Argument(help=f"The run's own by default. {DATA_HELP}", metavar="DATA")] = None,
    skip_bad: SkipBad = False,
    no_cache: NoCache = False,
    verify_cache: VerifyCache = False,
    as_json: Json = False,
) -> None:
    """Measure a run on its validation images, or on other labelled images."""
    from underhood.display.tables import evaluation_table
    from underhood.jobs.evaluate import evaluate as job

    options: dict[str, Any] = {"skip_bad": skip_bad, "cache": not no_cache, "verify_cache": verify_cache}
    finish(job(run, data, reporter=terminal(as_json), **options), as_json, evaluation_table)


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Two run folders or more.", metavar="RUN RUN...")],
    as_json: Json = False,
) -> None:
    """Compare runs with the first one on the same images: better, worse, or cannot tell."""
    from underhood.display.tables import comparison_table
    from underhood.jobs.compare import compare as job

    finish(job(*runs), as_json, comparison_table)


@app.command()
def predict(
    run: Model,
    paths: Annotated[
        list[Path], typer.Argument(help="Images, folders of images, - for standard input.", metavar="PATH...")
    ],
    as_csv: Annotated[bool, typer.Option("--csv", help="As CSV: path, label, score, rejected, set, reason.")] = False,
    as_json: Json = False,
) -> None:
    """Predict the class of each image: a label, one of a few, or none of the classes (rejected)."""
    from underhood.display.tables import predictions_csv, predictions_table, printable_texts
    from underhood.jobs.predict import predict as job

    result = job(run, paths, reporter=terminal(as_json or as_csv))
    for path, reason in printable_texts(result["unreadable"]).items():
        typer.echo(f"error: {path} {reason}", err=True)
    finish(result, as_json, predictions_csv if as_csv else predictions_table, code=1 if result["unreadable"] else 0)


@app.command()
def export(run: RunFolder, as_json: Json = False) -> None:
    """Write model.onnx, for other tools and machines without torch, and verify that it predicts the same."""
    from underhood.display.tables import certificate
    from underhood.jobs.export import export as job

    finish(job(run, reporter=terminal(as_json)), as_json, certificate)


@app.command()
def get(
    name: Annotated[
        str | None, typer.Argument(help="digits, mnist, mnist-3v7 or fashion-mnist.", metavar="NAME")
    ] = None,
    folder: Annotated[Path | None, typer.Argument(help="Where --as folder writes.", metavar="DIR")] = None,
    form: Annotated[str | None, typer.Option("--as", help="folder: a folder per class, as PNG files.")] = None,
    clear_cache: Annotated[
        bool, typer.Option("--clear-cache", help="Remove the decoded pixels that are kept of folders.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Fetch a data set by name, or write it out: underhood get NAME --as folder DIR."""
    from underhood.jobs import get as job

    if clear_cache:
        if name or folder or form:
            raise typer.BadParameter(
                "takes no other arguments: underhood get --clear-cache", param_hint="--clear-cache"
            )
        cleared = job.clear_cache()
        finish(cleared, as_json, lambda of: f"removed {of['bytes'] / 1e6:,.1f} MB from {of['path']}")
    if name is None:
        raise typer.BadParameter("name the data set to fetch, or give --clear-cache", param_hint="NAME")
    if form not in (None, "folder") or (form is None) != (folder is None):
        raise typer.BadParameter("write `--as folder DIR`, with both", param_hint="--as")
    result = job.get(name, folder, reporter=terminal(as_json))
    wrote = f"{result['images']:,} images in " if "images" in result else ""
    finish(result, as_json, lambda of: f"{name}: {wrote}{of['path']}")


@app.command()
def reproduce(
    full: Annotated[bool, typer.Option("--full", help="Also the long job's end: 3,500 iterations, minutes.")] = False,
    as_json: Json = False,
) -> None:
    """Compute every figure that the books print, and compare. Needs mnist."""
    from underhood.display.tables import reproduction_table
    from underhood.jobs.reproduce import reproduce as job

    result = job(full, reporter=terminal(as_json))
    if "interrupted" in result:
        typer.echo(f"error: interrupted; reached: {result['interrupted']}", err=True)
    code = 130 if "interrupted" in result else 1 if result["differs"] else 0
    finish(result, as_json, reproduction_table, code=code)
