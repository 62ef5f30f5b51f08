"""``rerun``: train again from what a run wrote down, and say what came out differently, and why it may have."""

import csv
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from underhood.core.errors import RunError
from underhood.jobs.resume import stored_request
from underhood.jobs.train import train
from underhood.preparation.paths import expanded
from underhood.runs import folder as runs
from underhood.runs.record import changes
from underhood.training.reporter import Listener

RESULTS = ("weights.safetensors", "metrics.csv", "predictions.csv")
NO_MATTER = ("device", "track")  # of config.json: ``auto`` may have come to the same; who looks on changes nothing
MACHINE = ("platform", "processor", "threads", "processes", "device")  # of environment.json; the rest are versions


def rerun(
    run: str | Path, *, seed: int | None = None, out: str | Path | None = None, listener: Listener | None = None
) -> dict[str, Any]:
    """Train again from a finished run's record, in a new folder, and compare.

    seed: another than the run's, to see how much hangs on it
    Returns run (the new one), original, same (whether weights, metrics and predictions are equal, byte for byte) and
    differs, a list of {what, name, before, now}: what is data (a line each in ``now``, by file name), code, version,
    machine, seed, setting, weights or figure. Raises UnderhoodError.
    """
    original = expanded(run)
    config = runs.read_config(original)
    missing = [name for name in RESULTS if not (original / name).is_file()]
    if missing:
        raise RunError(f"{original} is not finished, it has no {missing[0]}: underhood train --resume {original}")
    request = stored_request(original, config)
    device = "cpu" if config.get("device") == "cpu" else "auto"
    request = replace(request, seed=request.seed if seed is None else seed, device=device, track=None)
    result = train(out=out, listener=listener, **asdict(request))
    if not result:  # one of several processes, but not the first
        return {}
    again = Path(result["run"])
    same = all((original / name).read_bytes() == (again / name).read_bytes() for name in RESULTS)
    differs = [_difference("data", "pictures", None, line) for line in changes(original, again)]
    differs += _environments(original, again) + _settings(config, runs.read_config(again)) + _figures(original, again)
    return {"run": str(again), "original": str(original), "same": same, "differs": differs}


def _difference(what: str, name: str, before: Any, now: Any) -> dict[str, Any]:
    return {"what": what, "name": name, "before": before, "now": now}


def _unequal(before: dict[str, Any], now: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    return [(name, before.get(name), now[name]) for name in sorted(now) if before.get(name) != now[name]]


def _environments(original: Path, again: Path) -> list[dict[str, Any]]:
    records = (runs.read_json(folder, "environment.json") for folder in (original, again))
    kinds = {"code": "code"} | dict.fromkeys(MACHINE, "machine")
    return [_difference(kinds.get(name, "version"), name, *values) for name, *values in _unequal(*records)]


def _settings(before: dict[str, Any], now: dict[str, Any]) -> list[dict[str, Any]]:
    unequal = [one for one in _unequal(before, now) if one[0] not in NO_MATTER]
    return [_difference("seed" if name == "seed" else "setting", name, *values) for name, *values in unequal]


def _figures(original: Path, again: Path) -> list[dict[str, Any]]:
    """Of the last epoch, and how many pictures are told another class."""
    before, now = (_rows(folder / "metrics.csv")[-1] for folder in (original, again))
    found = [_difference("figure", *one) for one in _unequal(before, now)]
    guesses = [
        {row["path"]: row["predicted"] for row in _rows(folder / "predictions.csv")} for folder in (original, again)
    ]
    both = guesses[0].keys() & guesses[1].keys()
    others = sum(guesses[0][path] != guesses[1][path] for path in both)
    return found + ([_difference("figure", "predicted otherwise", 0, others)] if others else [])


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            rows = list(csv.DictReader(file))
        if not rows or ("predictions" in path.name and not {"path", "predicted"} <= rows[0].keys()):
            raise ValueError("it holds no rows, or not their columns")
    except (OSError, ValueError, csv.Error) as error:
        raise RunError(f"{path} is damaged or may not be read ({error})") from None
    return rows
