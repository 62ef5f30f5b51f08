"""``whatif``: train a run again with something changed and everything else equal, and say what that changes."""

import os
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from underhood.core.errors import UnderhoodError, UnknownNameError
from underhood.jobs.train import train
from underhood.preparation.files import expanduser
from underhood.runs.folder import read_config
from underhood.runs.interventions import Intervention
from underhood.training import Reporter
from underhood.training.config import MAX_LR
from underhood.training.record import stored_recipe
from underhood.training.whatif import (
    FoundImage,
    Original,
    Retraining,
    find_image,
    load_original,
    merged,
    training_image,
)

if TYPE_CHECKING:
    from torch import nn

    from underhood.training.causes import Effect, Noise


class Flip(TypedDict):
    """A validation image with another answer than before."""

    path: str
    label: str
    before: str
    after: str


class Accuracy(TypedDict):
    """Of the validation images. after: None where an image is explained and nothing is changed."""

    before: float
    after: float | None
    images: int


class ExplainedImage(TypedDict):
    """The image, and the answer of the run's model. label: None where it is not known."""

    path: str
    label: str | None
    predicted: str
    probability: float


class WhatIfResult(TypedDict):
    """What ``whatif`` returns."""

    run: str
    out: str | None
    interventions: list[dict[str, Any]]  # the changes, with step, what, from, to
    same: bool | None  # whether the weights are the run's, bit for bit
    accuracy: Accuracy
    flipped: list[Flip]
    image: ExplainedImage | None
    effects: "list[Effect]"
    noise: "Noise | None"
    because: list[str]  # paths of the training images that are the cause of the answer; [] where none is
    sentence: str
    trainings: int
    seconds: float


def whatif(
    run: str | Path, without: Sequence[str] = (), relabel: Sequence[str] = (), lr: Sequence[str] = (),
    explain: str | None = None, out: str | Path | None = None, *, reporter: Reporter | None = None,
) -> WhatIfResult:  # fmt: skip
    """Train a run again with something changed and everything else equal, and say what that changes.

    without: training images to leave out; relabel: ``PATH=CLASS`` each; lr: ``F@STEP``, the highest learning rate from
    a step on; explain: an image, whose probability is followed. Where nothing is changed, the training images that are
    the cause of its answer are looked for, by leaving them out.
    out: a folder for the run with the changes; without it nothing is written

    Returns run, out, interventions, same (whether the weights are the run's, bit for bit), accuracy (before, after),
    flipped (validation images with another answer), image, effects and noise (of an explained image), because (the
    training images that are the cause), sentence, trainings, seconds. Raises UnderhoodError.
    """
    started, reporter = time.perf_counter(), reporter or Reporter()
    searches = explain is not None and not (without or relabel or lr)
    if searches and out is not None:
        raise UnderhoodError("--explain alone changes nothing that --out could keep: name changes, or omit --out")
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise UnderhoodError("whatif runs in one process: leave torchrun out")
    original = load_original(expanduser(run), reporter)
    changed = _changes(original, without, relabel)
    image = None if explain is None else _image_to_explain(original, explain)
    retraining = Retraining(original, reporter)
    changed += _learning_rates(lr, retraining.steps)
    after = None if searches else _train_changed(retraining, changed, out, reporter)
    result = _compare(retraining, changed, after)
    result["run"], result["out"] = str(run), None if out is None else str(out)
    if image is not None:
        _explain(result, retraining, image, changed, after, reporter)
    result["trainings"], result["seconds"] = retraining.trainings, round(time.perf_counter() - started, 3)
    return result


def _image_to_explain(original: Original, path: str) -> FoundImage:
    """The image, where other trainings without images are possible. Raises UnderhoodError."""
    if original.recipe.tune == "all":
        raise UnderhoodError("--explain leaves images out, which does not suit --tune all: use --tune head")
    return find_image(original, path)


def _changes(original: Original, without: Sequence[str], relabel: Sequence[str]) -> list[Intervention]:
    """The images to leave out and those with another class, as interventions. Raises UnderhoodError."""
    made = [Intervention(0, "without", training_image(original, path, "be left out"), "") for path in without]
    left_out = {one.before for one in made}
    for text in relabel:
        path, name = _split_label(text, original.loaded.dataset.classes)
        path = training_image(original, path, "have another class")
        if path in left_out:
            raise UnderhoodError(f"{path} is in --without and in --relabel: choose one")
        made.append(Intervention(0, "relabel", path, name))
    return list(dict.fromkeys(made))


def _split_label(text: str, classes: Sequence[str]) -> tuple[str, str]:
    """(path, class) of ``PATH=CLASS``; either may have a ``=`` of its own. Raises UnderhoodError."""
    parts = text.split("=")
    splits = [("=".join(parts[:i]), "=".join(parts[i:])) for i in range(1, len(parts))]
    if not splits:
        raise UnderhoodError(f"--relabel {text} names no class: write PATH=CLASS")
    known = [split for split in splits if split[1] in classes]
    if not known:
        raise UnknownNameError("class", splits[-1][1], classes)
    return known[0]


def _learning_rates(texts: Sequence[str], steps: int) -> list[Intervention]:
    """``F@STEP`` each, as interventions. Raises UnderhoodError."""
    made = []
    for text in texts:
        value, _, step = text.partition("@")
        try:
            lr, number = float(value), int(step)
        except ValueError:
            raise UnderhoodError(
                f"--lr {text} is not F@STEP, a learning rate from a step on, such as 0.003@120"
            ) from None
        if not 0 < lr <= MAX_LR or not 1 <= number <= steps:
            limits = f"F must be above 0 and at most {MAX_LR:g}, and STEP from 1 to {steps:,}, the run's last"
            raise UnderhoodError(f"--lr {text}: {limits}")
        made.append(Intervention(number, "lr", "", repr(lr)))
    return made


def _rows(original: Original, changed: Sequence[Intervention]) -> list[dict[str, Any]]:
    """The changes with the columns of interventions.csv, beside what the run had changed itself."""
    whole = merged(original.interventions, changed, original.recipe.lr)
    new = {one[:2] + one[3:] if one.what == "lr" else one for one in changed}
    kept = [one for one in whole if (one[:2] + one[3:] if one.what == "lr" else one) in new]
    return [{"step": one.step, "what": one.what, "from": one.before, "to": one.after} for one in kept]


def _train_changed(
    retraining: Retraining, changed: Sequence[Intervention], out: str | Path | None, reporter: Reporter
) -> "nn.Module":
    """The model after the training with the changes, in memory or in a run folder. Raises UnderhoodError."""
    if out is None:
        return retraining.train(changed)
    original = retraining.original
    whole = merged(original.interventions, changed, original.recipe.lr)
    made = train(out=out, reporter=reporter, interventions=whole, **asdict(original.config))
    assert made is not None
    if stored_recipe(folder := Path(made["run"]), read_config(folder)) != original.recipe:
        reporter.warn("this version of underhood trains with another recipe than the run's: see config.json of both")
    return retraining.load(folder)


def _compare(
    retraining: Retraining, changed: Sequence[Intervention], after: "nn.Module | None"
) -> WhatIfResult:  # fmt: skip
    """The run and its model after a training with changes, if there was one, on the validation images."""
    original = retraining.original
    valid = original.loaded.dataset.valid
    before = retraining.probabilities(retraining.before).argmax(axis=1)  # int64 [n]
    result: WhatIfResult = {
        "run": "", "out": None, "interventions": _rows(original, changed), "same": None,
        "accuracy": {"before": float((before == valid.labels).mean()), "after": None, "images": len(valid)},
        "flipped": [], "image": None, "effects": [], "noise": None, "because": [], "sentence": "", "trainings": 0,
        "seconds": 0.0,
    }  # fmt: skip
    if after is None:
        return result
    now = retraining.probabilities(after).argmax(axis=1)
    result["accuracy"]["after"] = float((now == valid.labels).mean())
    result["same"] = retraining.equals_run(after)
    result["flipped"] = [
        {"path": valid.names[i], "label": valid.classes[valid.labels[i]],
         "before": valid.classes[before[i]], "after": valid.classes[now[i]]}
        for i in np.flatnonzero(before != now).tolist()
    ]  # fmt: skip
    result["sentence"] = _sentence(result)
    return result


def _explain(
    result: WhatIfResult, retraining: Retraining, found: FoundImage, changed: Sequence[Intervention],
    after: "nn.Module | None", reporter: Reporter,
) -> None:  # fmt: skip
    """Add what the changes make of an image's answer, or what causes it, with the noise. after: None to search."""
    from underhood.training.causes import Search, ask, describe

    question = ask(retraining, found)
    classes = retraining.original.loaded.dataset.classes
    result["image"] = {"path": found.path, "label": found.label, "predicted": classes[question.answer],
                       "probability": question.probability}  # fmt: skip
    search = Search(retraining, question, reporter)
    result["effects"] = search.find_causes() if after is None else search.measure_changes(changed, after)
    result["noise"] = search.noise
    result["because"] = search.cause["paths"] if search.cause else []
    result["sentence"] = describe(found.path, search, result["effects"])


def _sentence(result: WhatIfResult) -> str:
    """What the changes did to the validation images, in one sentence."""
    before, after = result["accuracy"]["before"], result["accuracy"]["after"]
    if result["same"]:
        return "the same weights as the run's, bit for bit"
    fixed = sum(one["after"] == one["label"] for one in result["flipped"])
    broken = sum(one["before"] == one["label"] for one in result["flipped"])
    others = len(result["flipped"]) - fixed - broken
    more = f" and {others:,} wrong in another way" if others else ""
    images = result["accuracy"]["images"]
    counts = f"of {images:,} validation images {fixed:,} are fixed, {broken:,} broken{more}"
    what = "" if result["interventions"] else "nothing was changed, but the weights are others: "
    return f"{what}accuracy {before:.2%} before and {after:.2%} after: {counts}".replace("%", " %")
