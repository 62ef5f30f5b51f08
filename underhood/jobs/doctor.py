"""``doctor``: why does it not learn? Suspicions about a run, data, a model or a script, each tested."""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from underhood.core.errors import RunError, UnderhoodError
from underhood.data.parts import Parts, ReadOptions, read_parts
from underhood.data.read import LoadedData, split_parts
from underhood.diagnosis import FindingDict
from underhood.preparation.files import expanduser
from underhood.reporting.doctor_sections import DOCTOR_FILE
from underhood.runs import atomic_write, read_rows
from underhood.runs.folder import read_config
from underhood.training import Reporter

if TYPE_CHECKING:
    from torch import nn

    from underhood.core.learner import Learner
    from underhood.diagnosis.case import Case, Loop
    from underhood.training.config import TrainConfig
    from underhood.training.learners import Setup
    from underhood.training.recipe import Recipe

BUDGET, LEAST = 60.0, 1.0  # seconds
LR = 0.05


class DoctorResult(TypedDict):
    """What ``doctor`` returns."""

    subject: str
    kind: str  # run, data, model or script
    findings: list[FindingDict]  # the most serious first
    not_examined: list[str]  # checks for which no time was left
    seconds: float


def doctor(
    subject: "str | Path | nn.Module | Learner" = "digits",
    dataloader: Any = None,
    loss_func: Callable[..., Any] | None = None,
    lr: float = LR,
    valid: Any = None,
    *,
    arguments: Sequence[str] = (),
    budget: float = BUDGET,
    reporter: Reporter | None = None,
) -> DoctorResult:
    """Look for the reason why something does not learn, by experiments. Each finding has a number and a fix.

    subject: a run folder, data as ``read`` takes them, a training script (``.py``), a ``Learner``, or any ``nn.Module``
        with its training batches and its loss
    dataloader: iterable of (inputs, targets); loss_func: (outputs, targets) → mean over the batch []; lr: of SGD, which
        trains copies of the model; valid: like dataloader, batches that the model is not trained on
    arguments: of the script, which is run as far as a few hundred steps; budget: seconds for all experiments together

    Returns subject, kind, findings (each with ``check``, ``verdict``: found, suspicious or fine, ``suspicion``,
    ``evidence``, ``fix`` and ``seconds``; the most serious first), not_examined (the names of checks for which no time
    was left) and seconds. Nothing on disk changes, but for ``doctor.json`` in a run folder, which ``report`` shows; a
    script does whatever it does. Raises UnderhoodError.
    """
    reporter, began = reporter or Reporter(), time.perf_counter()
    if not budget >= LEAST:
        raise UnderhoodError(f"a budget of {budget:g} seconds is too small: --budget 60s")
    case = _case(subject, dataloader, loss_func, lr, valid, arguments, reporter)
    case.seconds = budget
    from underhood.diagnosis.examine import examine

    _require_training(case)
    findings, not_examined = examine(case, reporter)
    result: DoctorResult = {
        "subject": case.subject, "kind": case.kind, "findings": findings, "not_examined": not_examined,
        "seconds": round(time.perf_counter() - began, 2),
    }  # fmt: skip
    if case.kind == "run":
        atomic_write(expanduser(case.subject) / DOCTOR_FILE, (json.dumps(result, indent=1) + "\n").encode())
    return result


def parse_budget(text: str) -> float:
    """Seconds from ``60s``, ``60`` or ``2m``. Raises ValueError."""
    unit = {"s": 1.0, "m": 60.0}.get(text[-1:], 0.0)
    seconds = float(text[:-1]) * unit if unit else float(text)
    if not LEAST <= seconds <= 86_400:
        raise ValueError(f"{text} is not from 1s to 24 hours")
    return seconds


def _require_training(case: "Case") -> None:
    """Raises UnderhoodError where a script or a model stops before it has trained anything."""
    trace = case.trace
    if trace is None or trace.steps or "does not require grad" in trace.error:
        return
    raise UnderhoodError(f"{case.subject}: {trace.error or 'it never calls backward, so nothing is trained'}")


def _case(
    subject: Any, dataloader: Any, loss_func: Any, lr: float, valid: Any, arguments: Sequence[str], reporter: Reporter
) -> "Case":
    """What is to be examined. Raises UnderhoodError."""
    if not isinstance(subject, (str, Path)):
        return _given(subject, dataloader, loss_func, lr, valid)
    if dataloader is not None or loss_func is not None or valid is not None:
        raise UnderhoodError("batches and a loss belong to a model: doctor(model, dataloader, loss_func)")
    path = expanduser(subject)
    if path.suffix == ".py":
        return _script(path, arguments)
    if arguments:
        raise UnderhoodError(f"{subject} is no script, and takes no arguments: give {arguments[0]!r} to a script (.py)")
    if (path / "config.json").is_file():
        return _run(path, reporter)
    return _data(subject, reporter)


def _given(subject: Any, dataloader: Any, loss_func: Any, lr: float, valid: Any) -> "Case":
    """A Learner, or a model with its batches."""
    from torch import nn

    from underhood.core.learner import Learner
    from underhood.diagnosis.case import Case
    from underhood.diagnosis.loops import model_loop

    if isinstance(subject, Learner):
        learn = subject
        batches, held_out = dataloader or learn.dls.train, valid or learn.dls.valid
        rates = learn.recorder.lrs  # of an earlier training; without one, as any other model, with SGD
        how = (max(rates), held_out, learn.opt_func) if rates else (lr, held_out)
        loop = model_loop(learn.model, batches, loss_func or learn.loss_func, *how)
        return Case(type(learn.model).__name__, "model", loop)
    if not isinstance(subject, nn.Module) or dataloader is None or loss_func is None:
        raise UnderhoodError("doctor takes a run, data, a script, a Learner, or (model, dataloader, loss_func)")
    return Case(type(subject).__name__, "model", model_loop(subject, dataloader, loss_func, lr, valid))


def _script(path: Path, arguments: Sequence[str]) -> "Case":
    from underhood.diagnosis.case import Case
    from underhood.diagnosis.loops import script_loop

    if not path.is_file():
        raise UnderhoodError(f"{path}: there is no such script")
    return Case(str(path), "script", script_loop(path, arguments))


def _data(data: str | Path, reporter: Reporter) -> "Case":
    """Data, and the training that ``train --effort fast`` would start on them."""
    from underhood.diagnosis.case import Case
    from underhood.training.config import TrainConfig
    from underhood.training.recipe import choose_for

    options = ReadOptions(progress=reporter.read_progress(), bar=reporter.download)
    parts = read_parts(data, options)
    loaded = split_parts(parts, options, skip_bad=True)
    config = TrainConfig(str(data), effort="fast")
    recipe = choose_for(loaded.dataset, config, None)
    return Case(str(data), "data", _loop_on(loaded, recipe, config), parts, loaded)


def _run(folder: Path, reporter: Reporter) -> "Case":
    """A run, and a training like it. Raises RunError."""
    from underhood.diagnosis.case import Case
    from underhood.training.record import load_finished, stored_recipe

    options = read_config(folder)
    run, config, loaded = load_finished(folder, reporter)
    recipe = stored_recipe(folder, options)
    parts = _parts_of(config, loaded)
    case = Case(str(folder), "run", _loop_on(loaded, recipe, config), parts, loaded, run, _history(folder), options)
    case.results = _results(folder, loaded)
    return case


def _history(folder: Path) -> list[dict[str, float]]:
    """The rows of ``metrics.csv``. Raises RunError."""
    try:
        return [{name: float(value) for name, value in row.items()} for row in read_rows(folder / "metrics.csv")]
    except ValueError as error:
        raise RunError(f"{folder / 'metrics.csv'} is damaged ({error}): train again") from None


def _results(folder: Path, loaded: LoadedData) -> dict[str, float]:
    """The accuracies of a run and of pixel similarity on the validation images. Raises RunError."""
    from underhood.analysis import balanced_accuracy
    from underhood.analysis.interpretation import Interpretation
    from underhood.scratch.similarity import PixelSimilarity

    it, valid = Interpretation.from_run(folder), loaded.dataset.valid
    baseline = PixelSimilarity().fit(loaded.dataset.train).predict(valid.pixels) == valid.labels
    return {
        "valid_accuracy": float(it.right.mean()),
        "balanced_accuracy": balanced_accuracy(it.predicted, it.labels),
        "baseline_accuracy": float(baseline.mean()),
    }


def _parts_of(config: "TrainConfig", loaded: LoadedData) -> Parts:
    """The images of a run in their own parts, prepared as the run has them."""
    return read_parts(config.data, ReadOptions(preparation=loaded.preparation, limit=config.limit, seed=config.seed,
                                               group_by=config.group_by))  # fmt: skip


def _loop_on(loaded: LoadedData, recipe: "Recipe", config: "TrainConfig") -> "Loop":
    from dataclasses import replace

    from underhood.diagnosis.loops import setup_loop
    from underhood.training.setup import make_learner

    def make(seed: int) -> "Setup":
        return make_learner(loaded, recipe, replace(config, seed=config.seed + seed))

    return setup_loop(make)
