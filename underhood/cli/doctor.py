"""The doctor, who looks for what is wrong, and ``break``, which makes something wrong for a class to find."""

from pathlib import Path
from typing import Annotated, Any

import typer

from underhood.cli.app import app, finish, terminal
from underhood.cli.options import DATA_HELP, Json


@app.command(context_settings={"ignore_unknown_options": True})
def doctor(
    subject: Annotated[
        str,
        typer.Argument(help="A run folder, a training script (.py), or DATA as for train.", metavar="RUN|DATA|SCRIPT"),
    ] = "digits",
    arguments: Annotated[list[str] | None, typer.Argument(help="Arguments of the script.", metavar="ARG...")] = None,
    budget: Annotated[str, typer.Option(help="Time for all experiments together, such as 60s or 2m.")] = "60s",
    as_json: Json = False,
) -> None:
    """Look for the reason why something does not learn: each suspicion is tested by an experiment of seconds."""
    from underhood.display.doctor_tables import doctor_report
    from underhood.jobs.doctor import doctor as job, parse_budget

    try:
        seconds = parse_budget(budget)
    except ValueError:
        raise typer.BadParameter(f"{budget!r} is no time from 1s to 24 hours: 60s, 2m", param_hint="--budget") from None
    result = job(subject, arguments=arguments or (), budget=seconds, reporter=terminal(as_json))
    finish(
        result, as_json, doctor_report, code=1 if any(one["verdict"] == "found" for one in result["findings"]) else 0
    )


@app.command("break")
def break_(
    data: Annotated[str | None, typer.Argument(help=DATA_HELP, metavar="DATA")] = None,
    fault: Annotated[str | None, typer.Option(metavar="NAME", help="Plant this fault.")] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=2**32 - 1, help="Without --fault: draw one, and do not say which.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="A new folder for what is broken.")] = None,
    script: Annotated[
        bool, typer.Option("--script", help="Break a training script that reads DATA, instead of DATA.")
    ] = False,
    reveal: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Show the answer of a folder that was broken so.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Plant a fault in a copy of DATA, or in a training script, for a class that learns to find it."""
    from underhood.display.break_tables import planted_report, reveal_report
    from underhood.jobs import break_ as job

    if reveal is not None:
        if data or fault or seed is not None or out or script:
            raise typer.BadParameter("takes no other arguments: underhood break --reveal DIR", param_hint="--reveal")
        answer: Any = job.reveal(reveal)
        finish(answer, as_json, reveal_report)
    if data is None or out is None:
        raise typer.BadParameter("write `underhood break DATA --out DIR`, with both", param_hint="DATA, --out")
    result = job.break_(data, out, fault=fault, seed=seed, script=script, reporter=terminal(as_json))
    finish(result, as_json, planted_report)
