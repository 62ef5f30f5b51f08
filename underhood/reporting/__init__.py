"""``report.html``: a run on one page. How accurate the model is, where it is wrong, and what is inside.

The page is self-contained (no script, nothing from the network), for phone, desk and printer, light and dark. It is a
function of the run folder and of the images that the run was trained on; ``report.html`` next to this file is the
template. ``model_sections.py`` has the sections that need the model.
"""

from pathlib import Path
from typing import Any

import numpy as np

from underhood.analysis import accuracy_interval
from underhood.analysis.interpretation import Confused, Interpretation, Mistake
from underhood.core.errors import RunError
from underhood.core.images import Dataset, Images
from underhood.core.schedule import SCHEDULES
from underhood.data.files import data_url, printable, read_csv
from underhood.display import figures
from underhood.reporting.answer_sections import answer_sections
from underhood.reporting.doctor_sections import doctor_sections
from underhood.reporting.leak_sections import leak_sections
from underhood.reporting.learning_sections import learning_sections
from underhood.reporting.model_sections import MAX_FLOAT, card, model_sections
from underhood.runs import atomic_write, read_json
from underhood.runs.checkpoint import Run, load_run
from underhood.runs.folder import read_config, read_label_issues
from underhood.scratch.similarity import PixelSimilarity
from underhood.training.candidates import read_candidates
from underhood.training.folds import folds_section
from underhood.training.learning_curve import read_curve

STRIP_LENGTH, MISTAKES, PAIRS, IMAGES_PER_PAIR = 12, 24, 6, 6  # how many are shown, at most


def write_report(folder: Path, dataset: Dataset, groups: np.ndarray | None = None) -> Path:
    """Write the page of a finished run, and return its path.

    dataset: the images that the run was trained and validated on; groups: of the validation images, int64 [n], which
    the interval respects. Raises RunError if a file of the run cannot be read.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("underhood.reporting", ".")
    environment = Environment(
        loader=loader, autoescape=True, finalize=_printable, undefined=StrictUndefined, trim_blocks=True
    )
    page = environment.get_template("report.html").render(**_content(load_run(folder), dataset, groups))
    atomic_write(folder / "report.html", page.encode("utf-8", "backslashreplace"))
    return folder / "report.html"


def _printable(value: Any) -> Any:
    """A text of the page without control characters; other values, and SVG, as they are."""
    return printable(value) if type(value) is str else value


def _content(run: Run, dataset: Dataset, groups: np.ndarray | None) -> dict[str, Any]:
    folder = run.path
    it, similarity = Interpretation.from_run(folder), PixelSimilarity().fit(dataset.train)
    if it.classes != run.classes:
        raise RunError(f"{folder / 'data.json'} does not have the classes of weights.safetensors: train again")
    config, environment = _config(folder), read_json(folder, "environment.json")
    baseline = similarity.predict(dataset.valid.pixels) == dataset.valid.labels
    recorded = read_json(folder, "data.json")
    return {
        "title": f"{config['model']} on {dataset.name}",
        "subtitle": f"{folder}, underhood {environment.get('underhood')}, torch {environment.get('torch')}",
        **_verdict(it, float(baseline.mean()), groups),
        "warnings": _lines(recorded, "warnings"),
        "folds": folds_section(folder),
        **leak_sections(it, dataset, config["data"], config.get("group_by")),
        **_training_data(folder, dataset, similarity, _lines(recorded, "notes")),
        "candidates": _candidates(folder),
        "published": _published(run),
        **_training(folder, config, len(dataset.train)),
        "learning_curve": _learning_curve(folder, config["model"], dataset),
        **_classes(it, dataset.valid),
        **answer_sections(run, it, dataset.valid),
        "mistakes": [_mistake(row, dataset.valid) for row in it.top_losses(MISTAKES) if row.label != row.predicted],
        **_label_issues(folder, dataset),
        **model_sections(folder, it, run.model, dataset),
        **learning_sections(run, it, dataset.valid),
        **doctor_sections(folder),
        "footer": "Written by underhood report, from the files of the run and the images that it was trained on.",
    }  # fmt: skip


def _config(folder: Path) -> dict[str, Any]:
    """A run's ``config.json`` with all that the page shows of it. Raises RunError."""
    config = read_config(folder)
    needed = "model", "epochs", "batch_size", "optimizer", "lr", "schedule", "effort", "seed", "precision"
    missing = [name for name in needed if config.get(name) is None]
    if missing:
        raise RunError(f"{folder / 'config.json'} is damaged: it has no {missing[0]}")
    return config


def _lines(recorded: dict[str, Any], name: str) -> list[str]:
    """The lines of a list in ``data.json``; [] where it has none."""
    lines = recorded.get(name)
    return [str(line) for line in lines] if isinstance(lines, list) else []


def _verdict(it: Interpretation, baseline: float, groups: np.ndarray | None) -> dict[str, Any]:
    """The figures at the top of the page. baseline: the accuracy of pixel similarity; groups: of the images [n]"""
    right, total = int(it.right.sum()), len(it)
    low, high = accuracy_interval(it.right, groups)
    balanced = float(np.mean([recall for *_, recall in it.precision_and_recall() if recall is not None]))
    compared = (
        "the model is far better." if low > baseline + (1 - baseline) / 2 else
        "the model is better." if low > baseline else
        "there are too few validation images to say whether the model is better." if high > baseline else
        "the model is worse, so something is wrong."
    )  # fmt: skip
    words = (
        f"The model classifies {right:,} of {total:,} validation images correctly. On similar images, expect an "
        f"accuracy between {low:.1%} and {high:.1%}. The baseline, pixel similarity, reaches {baseline:.1%}: {compared}"
    )
    return {
        "verdict": words,
        "headline": [
            ("accuracy", f"{right / total:.2%}"),
            ("95 % interval", f"{low:.1%} to {high:.1%}"),
            ("balanced accuracy", f"{balanced:.2%}"),
            ("pixel similarity", f"{baseline:.2%}"),
        ],
    }


def _training_data(folder: Path, dataset: Dataset, similarity: PixelSimilarity, notes: list[str]) -> dict[str, Any]:
    counts = {part: images.counts() for part, images in dataset.parts.items()}
    rows_of_each = figures.first_of_each(dataset.train.labels, dataset.classes, STRIP_LENGTH)
    strips = []
    for name, rows in zip(dataset.classes, rows_of_each, strict=True):
        shown = figures.strip(dataset.train.pixels[rows])
        text = ", ".join(f"{count[name]:,} {part}" for part, count in counts.items())
        strips.append(
            {"name": name, "counts": text, "image": shown.address, "width": shown.width, "height": shown.height}
        )
    augmented = folder / "augmented.png"
    total = ", ".join(f"{len(images):,} {part}" for part, images in dataset.parts.items())
    means = (similarity.class_means * 255).astype(np.uint8)
    return {
        "notes": [f"{len(dataset.classes)} classes, {total}", *notes],
        "strips": strips,
        "augmented": data_url(augmented.read_bytes()) if augmented.is_file() else None,
        "class_means": [card(mean, name) for mean, name in zip(means, dataset.classes, strict=True)],
    }


def _label_issues(folder: Path, dataset: Dataset) -> dict[str, Any]:
    """Those of the run's label issues whose labels are still the same."""
    where = {name: (images, i) for images in dataset.parts.values() for i, name in enumerate(images.names)}
    cards = []
    for issue in read_label_issues(folder / "suspects.csv"):
        images, i = where.get(issue["path"], (dataset.train, -1))
        if i >= 0 and images.classes[images.labels[i]] == issue["label"]:
            text = f"{issue['label']}, looks like {issue['predicted']} ({issue['probability']:.0%})"
            cards.append((images.pixels[i], issue["path"], text))
    return {"label_issues": [card(*one) for one in cards[:MISTAKES]], "label_issue_count": f"{len(cards):,}"}


def _training(folder: Path, config: dict[str, Any], images: int) -> dict[str, Any]:
    """The recipe in words, and the figures of losses, metrics and schedule. images: how many it was trained on."""
    epochs = f"{config['epochs']} epoch{'s' if config['epochs'] > 1 else ''}"
    recipe = f"{epochs} of batches of {config['batch_size']} with {config['optimizer']} at learning rates up to "
    recipe += f"{config['lr']:g} ({config['schedule']}), effort {config['effort']}, seed {config['seed']}"
    recipe += ", matrix products in bfloat16" if config["precision"] == "bfloat16" else ""
    rows = _numbers(folder / "metrics.csv", "epoch", "train_loss", "valid_loss")
    steps = _numbers(folder / "steps.csv", "step", "train_loss")
    per_epoch = -(-images // config["batch_size"])
    losses = [(step["step"], step["train_loss"]) for step in steps]
    valid_losses = [((row["epoch"] + 1) * per_epoch, row["valid_loss"]) for row in rows]
    curves = [("Loss", figures.loss_curve(losses, valid_losses))]
    for name in list(rows[0])[3:] if len(rows) > 1 else ():
        title = f"{name.capitalize().replace('_', ' ')} on the validation images"
        curves.append((title, figures.metric_curve([row[name] for row in rows])))
    total = config["epochs"] * per_epoch
    shown = figures.spread(total, 300)
    values = [SCHEDULES[config["schedule"]](step, total) for step in shown]
    lrs, momenta = [config["lr"] * value.lr_factor for value in values], [value.momentum for value in values]
    curves.append(("Learning rate and momentum", figures.schedule_curve(shown, lrs, momenta)))
    return {"recipe": recipe + ".", "curves": curves}


def _candidates(folder: Path) -> list[dict[str, str]]:
    """The models that were compared before the training, as the page shows them."""
    shown = []
    for row in read_candidates(folder):
        layers = {"head": ", frozen", "all": ", all layers tuned"}.get(row["tune"], " from scratch")
        moved = [row["augment"], "mirrored" if row["flip"] == "1" else ""] if row["tune"] != "head" else []
        figures = {name: float(row[name] or 0) for name in ("accuracy", "low", "high", "extrapolated")}
        found = "{accuracy:.1%} ({low:.1%} to {high:.1%})".format(**figures) if row["accuracy"] else "–"
        shown.append({
            "model": row["model"] + layers,
            "augmentation": ", ".join(filter(None, moved)) or "–",
            "size": row["size"] or "–",
            "work": f"{float(row['gigaoperations'] or 0) / 1000:.2f}",
            "accuracy": found,
            "expected": f"{figures['extrapolated']:.1%}" if row["extrapolated"] else "–",
            "reason": row["reason"],
        })  # fmt: skip
    return shown


def _learning_curve(folder: Path, model: str, dataset: Dataset) -> dict[str, Any] | None:
    """The accuracy with fewer images and with more, in words and as a figure."""
    curve = read_curve(folder, model, len(dataset.valid), len(dataset.classes))
    if curve is None:
        return None
    measured = [(one["images"], one["valid_accuracy"], *one["interval"]) for one in curve["points"]]
    more = measured[-1][0] + curve["more_per_class"] * len(dataset.classes)
    sentence = curve["sentence"][0].upper() + curve["sentence"][1:]
    figure = figures.learning_curve_figure(measured, more, curve["gain"], curve["gain_interval"])
    return {"sentence": sentence, "figure": [("Accuracy by number of training images", figure)]}


def _published(run: Run) -> str:
    """Where published weights come from, in words; empty where there are none."""
    if not run.pretrained:
        return ""
    record = {name: text for name, text in run.pretrained.items() if text and name != "source"}
    more = ", ".join(f"{name} {text[:12] if name in ('sha256', 'revision') else text}" for name, text in record.items())
    return f"It started from published weights: {run.pretrained.get('source')} ({more})."


def _numbers(path: Path, *columns: str) -> list[dict[str, float]]:
    """The rows of a CSV file of finite numbers, which begins with these columns. Raises RunError."""
    try:
        rows = [{name: float(text) for name, text in row.items()} for row in read_csv(path)]
        if not rows or [*rows[0]][: len(columns)] != [*columns]:
            raise ValueError(f"it has no rows of {', '.join(columns)}")
        if not all(abs(value) <= MAX_FLOAT for row in rows for value in row.values()):
            raise ValueError("it has a number that is NaN, infinite or too large")
    except (OSError, ValueError) as error:
        raise RunError(f"{path} is damaged or cannot be read ({error}): train again") from None
    return rows


def _classes(it: Interpretation, images: Images) -> dict[str, Any]:
    """Precision and recall, the confusion matrix, and the pairs of classes that are confused most often."""

    def percent(value: float | None) -> str:
        return "–" if value is None else f"{value:.1%}"

    rows = sorted(it.precision_and_recall(), key=lambda row: 2.0 if row[3] is None else row[3])
    return {
        "classes": [
            {"name": name, "images": f"{count:,}", "precision": percent(precision), "recall": percent(recall)}
            for name, count, precision, recall in rows
        ],
        "confusion": figures.confusion_figure(it.confusion_matrix().counts, it.classes),
        "confused": [_pair(pair, it, images) for pair in it.most_confused()[:PAIRS]],
    }


def _pair(pair: Confused, it: Interpretation, images: Images) -> dict[str, Any]:
    highest_loss_first = sorted(pair.indices, key=lambda i: -it.loss[i])[:IMAGES_PER_PAIR]
    cards = [card(images.pixels[i], it.names[i], f"probability {it.probability[i]:.0%}") for i in highest_loss_first]
    return {"label": pair.label, "predicted": pair.predicted, "count": f"{pair.count:,}", "images": cards}


def _mistake(row: Mistake, images: Images) -> dict[str, Any]:
    text = f"{row.label}, predicted {row.predicted} ({row.probability:.0%})"
    return card(images.pixels[row.index], row.name, text, f"loss {row.loss:.2f}")
