"""The sections of the report on answers: calibrated probabilities, prediction sets, rejected images."""

from collections import Counter
from typing import Any

import numpy as np

from underhood.analysis import wilson_interval
from underhood.analysis.calibration import REASONS
from underhood.analysis.interpretation import Interpretation, RecordedAnswers
from underhood.analysis.ood import read_ood
from underhood.core.images import Images
from underhood.display import figures
from underhood.reporting.model_sections import card
from underhood.runs.checkpoint import Run

SETS_SHOWN = 12  # images whose set has more than one label, at most
WORDS = {
    "blank": "blank",
    "distance": "far from all training images in feature space",
    "confidence": "with no probable label",
}


def answer_sections(run: Run, it: Interpretation, images: Images) -> dict[str, Any]:
    """The content of these sections, for the template. images: the validation images

    Raises RunError where the run's ``ood.csv`` is damaged.
    """
    said = it.answers
    if said and said.calibrates.all():  # no image is left to measure on, as with one image of each class
        said = None
    rows = ~said.calibrates if said else np.ones(len(it), bool)
    other = it.take(rows)  # which the calibration was not fitted on
    rejected, accuracy = other.rejection()
    shown = figures.spread(len(other), 300)
    curves = [
        ("Accuracy by predicted probability", figures.reliability_figure(other.calibration()[0])),
        ("Accuracy after rejection", figures.rejection_figure(rejected[shown].tolist(), accuracy[shown].tolist())),
    ]
    if said:
        before = it.uncalibrated().take(rows)
        first = "Accuracy by probability, before the temperature", figures.reliability_figure(before.calibration()[0])
        curves = [first, ("Accuracy by probability, after it", curves[0][1]), curves[1]]
    return {
        "calibration": _calibration(run, other, it.uncalibrated().take(rows) if said else None),
        "threshold": _threshold(run, it) if said is None else "",
        "calibration_figures": curves,
        "sets": _sets(run, it, said, images) if said and run.calibration.coverage else None,
        "ood": [{"kind": kind, "images": f"{n:,}", "rejected": f"{m:,}"} for kind, n, m in read_ood(run.path)],
    }


def _calibration(run: Run, other: Interpretation, before: Interpretation | None) -> str:
    """How far the predicted probabilities can be trusted. before: the same images before the temperature, if any"""
    probability, right, error = float(other.probability.mean()), float(other.right.mean()), other.calibration()[1]
    verdict = "well calibrated" if error < 0.02 else "overconfident" if probability > right else "underconfident"
    words = (
        f"The mean predicted probability is {probability:.1%}, the accuracy {right:.1%}: the model is {verdict} "
        f"(expected calibration error {error:.3f})."
    )
    if before is None:
        return words
    return (
        f"Logits are divided by a temperature of {run.calibration.temperature:.2f}, fitted on half of the validation "
        f"images. On the {len(other):,} others: {words[0].lower()}{words[1:]} Before, the mean probability was "
        f"{float(before.probability.mean()):.1%} and the error {before.calibration()[1]:.3f}; the mean loss was "
        f"{before.loss.mean():.4f} and is {other.loss.mean():.4f}."
    )


def _threshold(run: Run, it: Interpretation) -> str:
    """What the threshold of a run without calibration rejects."""
    kept = it.probability >= run.threshold
    rest = f"; {it.right[kept].mean():.2%} of the rest are correct" if kept.any() else ""
    return (
        f"The run's threshold is {run.threshold:.1%}: predictions with a lower probability are rejected. It was "
        f"chosen on the validation images, of which it rejects {1 - kept.mean():.1%}{rest}."
    )


def _sets(run: Run, it: Interpretation, said: RecordedAnswers, images: Images) -> dict[str, Any]:
    """Coverage and size of the prediction sets on the other half, by class, and images that may be one of several."""
    rows = ~said.calibrates
    labels, sets = it.labels[rows], said.sets[rows]
    held, sizes = sets[np.arange(len(labels)), labels], sets.sum(axis=1)
    low, high = wilson_interval(int(held.sum()), len(held))
    table = []
    for label in np.unique(labels).tolist():
        own = labels == label
        table.append((float(held[own].mean()), it.classes[label], int(own.sum()), float(sizes[own].mean())))
    several = np.flatnonzero(said.sets.sum(axis=1) > 1)
    several = several[np.argsort(it.probability[several], kind="stable")][:SETS_SHOWN]
    return {
        "sentence": (
            f"The sets are to hold the class of {run.calibration.coverage:.0%} of images like these. On the "
            f"{len(labels):,} validation images that had no part in it they hold {held.mean():.1%} ({low:.1%} to "
            f"{high:.1%}), with {sizes.mean():.2f} labels on average; {(sizes > 1).mean():.1%} have more than one."
        ),
        "classes": [
            {"name": name, "images": f"{count:,}", "held": f"{part:.1%}", "size": f"{size:.2f}"}
            for part, name, count, size in sorted(table)
        ],
        "several": [card(images.pixels[i], it.names[i], _one_of(it, said, i)) for i in several.tolist()],
        "rejected": _rejected(said, rows),
    }


def _one_of(it: Interpretation, said: RecordedAnswers, i: int) -> str:
    """What an image is, and what it may be by its set."""
    names = [it.classes[k] for k in np.flatnonzero(said.sets[i]).tolist()]
    text = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    return f"{it.classes[it.labels[i]]}; one of {text}"


def _rejected(said: RecordedAnswers, rows: np.ndarray) -> str:
    """How many of the images that had no part in the calibration are rejected, and why."""
    reasons = [reason for reason, chosen in zip(said.reasons, rows.tolist(), strict=True) if chosen]
    counts = Counter(reasons)
    parts = [f"{counts[reason]:,} {WORDS[reason]}" for reason in REASONS[1:] if counts[reason]]
    found = len(reasons) - counts[""]
    return f"Of these {len(reasons):,} images, {found:,} {'is' if found == 1 else 'are'} rejected" + (
        f": {', '.join(parts)}." if parts else "."
    )
