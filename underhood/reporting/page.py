"""``report.html``: one page that tells how good a run's model is, where it is wrong, and what is inside.

Self-contained (no script, nothing from the network), for a phone, a desk or a printer, light or dark. What it says is
computed here, from the run's own files and its pictures; ``report.html`` beside this file is the template.
"""

import csv
from pathlib import Path
from typing import Any

import numpy as np

from underhood.analysis.interpretation import Confused, Interpretation, Mistake, wilson_interval
from underhood.analysis.ood import caught
from underhood.core.errors import RunError
from underhood.core.images import Dataset, Images
from underhood.data.suspects import kept_suspects
from underhood.display import figures as plots
from underhood.display.thumbnails import first_of_each, spread, strip
from underhood.reporting.model_sections import card, inside
from underhood.runs.folder import Run, load_run, read_json, write_whole
from underhood.scratch.similarity import PixelSimilarity

STRIP, WORST, PAIRS, OF_A_PAIR = 12, 24, 6, 6  # how many are shown, at most


def write_report(folder: Path, dataset: Dataset) -> Path:
    """Write a finished run's page; returns its path. dataset: what it was trained and validated on. Raises RunError."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("underhood.reporting", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    page = environment.get_template("report.html").render(**_content(load_run(folder), dataset))
    write_whole(folder / "report.html", page.encode("utf-8", "backslashreplace"))
    return folder / "report.html"


def _content(run: Run, dataset: Dataset) -> dict[str, Any]:
    folder = run.path
    it, baseline = Interpretation.from_run(folder), PixelSimilarity().fit(dataset.train)
    config, environment = read_json(folder, "config.json"), read_json(folder, "environment.json")
    similar = baseline.predict(dataset.valid.pixels) == dataset.valid.labels
    recorded = read_json(folder, "data.json")
    return {
        "title": f"{config['model']} on {dataset.name}",
        "subtitle": f"{folder}, underhood {environment.get('underhood')}, torch {environment.get('torch')}",
        **_verdict(it, float(similar.mean())),
        "warnings": recorded.get("warnings", []),
        **_suspects(str(config["data"]), dataset),
        **_trained_on(folder, dataset, baseline, recorded.get("notes", [])),
        "recipe": _recipe(config),
        "curves": _curves(folder, config, len(dataset.train)),
        **_classes(it, dataset.valid),
        **_sureness(it),
        "threshold": _threshold(run, it, dataset.name),
        "worst": [_mistake(row, dataset.valid) for row in it.top_losses(WORST) if row.label != row.predicted],
        **inside(folder, it, run.model, dataset),
        "footer": "Written by underhood report; every figure is computed from the files of the run and its pictures.",
    }  # fmt: skip


def _verdict(it: Interpretation, similarity: float) -> dict[str, Any]:
    right, total = int(it.right.sum()), len(it)
    low, high = wilson_interval(right, total)
    accuracy = right / total
    balanced = float(np.mean([recall for *_, recall in it.precision_and_recall() if recall is not None]))
    better = (
        f"The baseline, which only compares pictures with each class's average, gets {similarity:.1%}: "
        + ("the model is far ahead of it." if low > similarity + (1 - similarity) / 2 else
           "the model is better." if low > similarity else
           "whether the model is better cannot be told from so few pictures." if high > similarity else
           "the model has learned less than that. Something is wrong.")
    )  # fmt: skip
    words = (
        f"Of {total:,} pictures that it did not train on, the model tells {right:,} right. On others like these, "
        f"expect between {low:.1%} and {high:.1%}. {better}"
    )
    return {
        "verdict": words,
        "headline": [
            ("accuracy", f"{accuracy:.2%}"),
            ("95 % interval", f"{low:.1%} to {high:.1%}"),
            ("balanced accuracy", f"{balanced:.2%}"),
            ("pixel similarity", f"{similarity:.2%}"),
        ],
    }


def _trained_on(folder: Path, dataset: Dataset, baseline: PixelSimilarity, notes: list[str]) -> dict[str, Any]:
    counts = {part: images.counts() for part, images in dataset.parts.items()}
    strips = []
    for name, rows in zip(dataset.classes, first_of_each(dataset.train.labels, dataset.classes, STRIP), strict=True):
        shown = strip(dataset.train.pixels[rows])
        told = ", ".join(f"{count[name]:,} {part}" for part, count in counts.items())
        strips.append(
            {"name": name, "counts": told, "image": shown.address, "width": shown.width, "height": shown.height}
        )
    augmented = None
    if (folder / "augmented.png").is_file():
        import base64

        augmented = f"data:image/png;base64,{base64.b64encode((folder / 'augmented.png').read_bytes()).decode()}"
    total = ", ".join(f"{len(images):,} {part}" for part, images in dataset.parts.items())
    ideals = (baseline.ideals * 255).astype(np.uint8)
    return {
        "notes": [f"{len(dataset.classes)} classes, {total}", *notes],
        "strips": strips,
        "augmented": augmented,
        "ideals": [card(ideal, name) for ideal, name in zip(ideals, dataset.classes, strict=True)],
    }


def _suspects(data: str, dataset: Dataset) -> dict[str, Any]:
    """The labels that ``check --labels`` doubts, where it was run on the same data and they still stand."""
    where = {name: (images, i) for images in dataset.parts.values() for i, name in enumerate(images.names)}
    shown = []
    for row in kept_suspects(data):
        images, i = where.get(row["path"], (dataset.train, 0))
        if row["path"] in where and images.classes[images.labels[i]] == row["label"]:
            shown.append((images.pixels[i], row))
    cards = [
        card(pixels, row["path"], f"{row['label']}, looks like {row['predicted']} ({float(row['probability']):.0%})")
        for pixels, row in shown[:WORST]
    ]
    return {"suspects": cards, "doubted": f"{len(shown):,}"}


def _recipe(config: dict[str, Any]) -> str:
    epochs = f"{config['epochs']} epoch{'s' if config['epochs'] > 1 else ''}"
    words = f"{epochs} of batches of {config['batch_size']} with {config['optimizer']} at a rate of up to "
    words += f"{config['lr']:g} ({config['schedule']}), effort {config['effort']}, seed {config['seed']}"
    words += ", products in bfloat16" if config["precision"] == "bfloat16" else ""
    return words + "."


def _curves(folder: Path, config: dict[str, Any], pictures: int) -> list[str]:
    from underhood.core.schedule import SCHEDULES

    names, epochs = _numbers(folder / "metrics.csv")
    _, steps = _numbers(folder / "steps.csv")
    an_epoch = -(-pictures // config["batch_size"])
    total = config["epochs"] * an_epoch
    at = [(row[0] + 1) * an_epoch for row in epochs]
    figures = [plots.loss_curve([row[:2] for row in steps], list(zip(at, (row[2] for row in epochs), strict=True)))]
    for column, name in enumerate(names[3:], start=3) if len(epochs) > 1 else ():
        figures.append(plots.metric_curve(name, [row[column] for row in epochs]))
    places = spread(total, 300)
    paces = [SCHEDULES[config["schedule"]](step, total) for step in places]
    rates, momenta = [config["lr"] * pace.rate for pace in paces], [pace.momentum for pace in paces]
    return [*figures, plots.schedule_curve(places, rates, momenta)]


def _numbers(path: Path) -> tuple[list[str], list[list[float]]]:
    """A table of numbers, its header apart. Raises RunError."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            header, *rows = csv.reader(file)
            return header, [[float(value) for value in row] for row in rows]
    except (OSError, ValueError, csv.Error) as error:
        raise RunError(f"{path} is damaged or may not be read ({error})") from None


def _classes(it: Interpretation, images: Images) -> dict[str, Any]:
    def percent(value: float | None) -> str:
        return "–" if value is None else f"{value:.1%}"

    rows = sorted(it.precision_and_recall(), key=lambda row: 2.0 if row[3] is None else row[3])
    return {
        "classes": [
            {"name": name, "pictures": f"{count:,}", "precision": percent(precision), "recall": percent(recall)}
            for name, count, precision, recall in rows
        ],
        "confusion": plots.confusion_figure(it.confusion_matrix().counts, it.classes),
        "confused": [_pair(pair, it, images) for pair in it.most_confused()[:PAIRS]],
    }


def _pair(pair: Confused, it: Interpretation, images: Images) -> dict[str, Any]:
    surest = sorted(pair.indices, key=lambda i: -it.loss[i])[:OF_A_PAIR]
    cards = [card(images.pixels[i], it.names[i], f"{it.probability[i]:.0%} sure") for i in surest]
    return {"label": pair.label, "predicted": pair.predicted, "count": f"{pair.count:,}", "pictures": cards}


def _sureness(it: Interpretation) -> dict[str, Any]:
    rows, error = it.calibration()
    rejected, accuracy = it.rejection()
    places = spread(len(it), 300)
    sure, right = float(it.probability.mean()), float(it.right.mean())
    habit = "about as sure as it is right" if error < 0.02 else "too sure" if sure > right else "not sure enough"
    at = int(np.argmin(np.abs(rejected - 0.05)))
    return {
        "calibration": (
            f"On average it is {sure:.1%} sure and {right:.1%} right: {habit} (expected calibration error "
            f"{error:.3f}). If it may refuse the {rejected[at]:.1%} of which it is least sure, "
            f"{accuracy[at]:.2%} of the rest are right."
        ),
        "sureness": [
            plots.reliability_figure(rows),
            plots.rejection_figure(rejected[places].tolist(), accuracy[places].tolist()),
        ],
    }


def _threshold(run: Run, it: Interpretation, name: str) -> str:
    """What the run's threshold does: to the validation pictures, and to some that show none of the classes."""
    sure = it.probability >= run.threshold
    rest = f", and {it.right[sure].mean():.2%} of the rest are right" if sure.any() else ""
    told = (
        f"Its threshold is a probability of {run.threshold:.1%}, set on these pictures: below it the model says "
        f"that it is not sure, as it does of {1 - sure.mean():.1%} of them{rest}. Of pictures that show none of the "
        "classes it is not sure of "
    )
    return told + ", ".join(f"{n:,} of {total:,} of {kind}" for kind, total, n in caught(run, name)) + "."


def _mistake(row: Mistake, images: Images) -> dict[str, Any]:
    told = f"{row.label}, taken for {row.predicted} ({row.probability:.0%})"
    return card(images.pixels[row.index], row.name, told, f"loss {row.loss:.2f}")
