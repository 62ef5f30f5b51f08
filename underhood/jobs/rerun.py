"""``rerun``: train again from a run's record, and report what differs and why it may."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypedDict

from underhood.analysis.predictions import read_predictions
from underhood.core.errors import RunError
from underhood.jobs.train import train
from underhood.preparation.files import expanduser
from underhood.runs import read_json, read_rows
from underhood.runs.folder import changes, read_config
from underhood.runs.interventions import read_interventions
from underhood.training import Reporter
from underhood.training.record import recorded_threads, stored_config

RESULTS = ("weights.safetensors", "metrics.csv", "predictions.csv")
IGNORED = ("device", "threads", "track")  # of config.json: the environment says both, and tracking changes nothing
MACHINE = ("platform", "processor", "threads", "processes", "device")  # of environment.json; the rest are versions


class Difference(TypedDict):
    """One difference between two runs. what: data, code, version, machine, seed, setting or figure."""

    what: str
    name: str
    before: Any
    now: Any


class RerunResult(TypedDict):
    """What ``rerun`` returns. same: whether weights, metrics and predictions are equal, byte for byte."""

    run: str
    original: str
    same: bool
    differs: list[Difference]


def rerun(
    run: str | Path, *, seed: int | None = None, out: str | Path | None = None, reporter: Reporter | None = None
) -> RerunResult | None:
    """Train again from a finished run's record, in a new folder, and compare.

    seed: another than the run's, to see how much the result depends on it
    Returns run (the new one), original, same (whether weights, metrics and predictions are equal, byte for byte) and
    differs, a list of {what, name, before, now}: what is data (one line in ``now`` for each image), code, version,
    machine, seed, setting or figure. With several processes the others return None. Raises UnderhoodError.
    """
    original = expanduser(run)
    stored = read_config(original)
    missing = [name for name in RESULTS if not (original / name).is_file()]
    if missing:
        raise RunError(f"{original} is not finished, it has no {missing[0]}: underhood train --resume {original}")
    config = stored_config(original, stored)
    config = replace(
        config, seed=config.seed if seed is None else seed, track=None,
        device="cpu" if stored.get("device") == "cpu" else "auto", threads=recorded_threads(original),
    )  # fmt: skip
    changed = read_interventions(original)
    result = train(out=out, reporter=reporter, interventions=changed, **asdict(config))
    if result is None:
        return None
    again = Path(result["run"])
    same = all((original / name).read_bytes() == (again / name).read_bytes() for name in RESULTS)
    differs = [_difference("data", "pictures", None, line) for line in changes(original, again)]
    differs += _environments(original, again)
    differs += _settings({"group_by": config.group_by} | stored, read_config(again))
    differs += _figures(original, again)
    return {"run": str(again), "original": str(original), "same": same, "differs": differs}


def _difference(what: str, name: str, before: Any, now: Any) -> Difference:
    return {"what": what, "name": name, "before": before, "now": now}


def _predictions(folder: Path) -> list[dict[str, str]]:
    try:
        return read_predictions(folder / "predictions.csv")
    except (OSError, ValueError) as error:
        raise RunError(f"{folder / 'predictions.csv'} is damaged or cannot be read ({error})") from None


def _unequal(before: dict[str, Any], now: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    return [(name, before.get(name), now[name]) for name in sorted(now) if before.get(name) != now[name]]


def _environments(original: Path, again: Path) -> list[Difference]:
    records = (read_json(folder, "environment.json") for folder in (original, again))
    kinds = {"code": "code"} | dict.fromkeys(MACHINE, "machine")
    return [_difference(kinds.get(name, "version"), name, *values) for name, *values in _unequal(*records)]


def _settings(before: dict[str, Any], now: dict[str, Any]) -> list[Difference]:
    unequal = [one for one in _unequal(before, now) if one[0] not in IGNORED]
    return [_difference("seed" if name == "seed" else "setting", name, *values) for name, *values in unequal]


def _figures(original: Path, again: Path) -> list[Difference]:
    """Of the last epoch, and how many images are predicted differently."""
    before, now = (_last_row(folder / "metrics.csv") for folder in (original, again))
    found = [_difference("figure", *one) for one in _unequal(before, now)]
    predicted = [{row["path"]: row["predicted"] for row in _predictions(folder)} for folder in (original, again)]
    both = predicted[0].keys() & predicted[1].keys()
    others = sum(predicted[0][path] != predicted[1][path] for path in both)
    return found + ([_difference("figure", "predicted otherwise", 0, others)] if others else [])


def _last_row(path: Path) -> dict[str, str]:
    rows = read_rows(path)
    if not rows:
        raise RunError(f"{path} is damaged: it holds no rows")
    return rows[-1]
