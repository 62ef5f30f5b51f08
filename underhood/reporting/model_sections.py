"""What the report shows of the model itself: weights, layers, and why it says what it says of a few pictures."""

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from underhood.analysis.interpretation import Interpretation
from underhood.core.errors import RunError
from underhood.core.images import Dataset, Images
from underhood.display import figures as plots
from underhood.display.thumbnails import as_pixels, heat, spread, thumbnail

if TYPE_CHECKING:
    from torch import nn

FILTERS, WRONG, RIGHT, NEAR = 64, 4, 2, 4  # how many are shown, at most
TO_LOOK_INSIDE = 512  # validation pictures
EFFORT = (
    500_000_000_000  # multiply-adds to look for the nearest training pictures with: some three seconds on two cores
)


def inside(folder: Path, it: Interpretation, model: "nn.Module", dataset: Dataset) -> dict[str, Any]:
    """The last sections of the page: first_layer and weights, layers, over_training, explained and near."""
    return {
        **_first_layer(model, dataset.valid),
        "layers": _layers(model, dataset.valid),
        "over_training": _over_training(folder / "layers.csv", model),
        **_explained(it, model, dataset),
    }


def card(pixels: np.ndarray, name: str, *lines: str) -> dict[str, Any]:
    """A picture, uint8 [c, h, w], as the page's ``card`` takes it."""
    return {"image": thumbnail(pixels).address, "name": name, "lines": lines}


def _first_layer(model: "nn.Module", images: Images) -> dict[str, Any]:
    from torch import nn

    first = next(module for module in model.modules() if isinstance(module, (nn.Linear, nn.Conv2d)))
    values = first.weight.detach().numpy()
    if isinstance(first, nn.Linear):
        values = values.reshape(-1, *images.pixels.shape[1:])
        whole = len(values) == len(images.classes)
        words = "Its weights, one picture for each " + ("class" if whole else "of its features")
    else:
        words, whole = f"The {len(values)} filters of its first convolution", False
    values = values if values.shape[1] in (1, 3) else values[:, :1]
    cards = [card(as_pixels(value), images.classes[i] if whole else f"{i}") for i, value in enumerate(values[:FILTERS])]
    return {"first_layer": f"{words}: light where ink speaks for it, dark where against.", "weights": cards}


def _layers(model: "nn.Module", images: Images) -> list[dict[str, str]]:
    import torch

    from underhood.core.learner import predict_probabilities
    from underhood.training.layer_stats import watch

    with watch(model, every=1) as seen:
        predict_probabilities(model, images.pixels[spread(len(images), TO_LOOK_INSIDE)])
    dead = seen.dead()
    rows = []
    for name, passes in seen.activations.items():
        mean, deviation, zeros = torch.stack(passes).mean(dim=0).tolist()
        told = f"{len(dead[name])} of {len(seen.alive[name])}" if name in dead else ""
        rows.append({
            "layer": f"{name} {seen.kinds[name]}", "mean": f"{mean:.3f}", "deviation": f"{deviation:.3f}",
            "zeros": f"{zeros:.0%}", "dead": told,
        })  # fmt: skip
    return rows


def _over_training(path: Path, model: "nn.Module") -> list[str]:
    """Figures of what ``layers.csv`` holds; none where the training was too short to look, or the run is an old one."""
    if not path.is_file():
        return []
    from underhood.training.layer_stats import layers

    kinds = layers(model)
    columns: dict[str, dict[str, list[tuple[float, float]]]] = {}  # column → layer → (step, value)…
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                for column in ("deviation", "gradient", "update", "zeros"):
                    if row[column]:
                        of_layer = columns.setdefault(column, {}).setdefault(row["layer"], [])
                        of_layer.append((float(row["step"]), float(row[column])))
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise RunError(
            f"{path} is damaged or may not be read ({error}): remove it, and the page does without"
        ) from None
    weighted = ("Linear", "Conv2d", "ResidualBlock")
    shown = {
        "deviation": ("Deviation of what a layer gives", weighted, True),
        "gradient": ("Norm of its weights' gradient", weighted, True),
        "update": ("What a step changes, of its weights", weighted, True),
        "zeros": ("Fraction of zeros after a ReLU", ("ReLU", "ResidualBlock"), False),
    }
    figures = []
    for column, (title, of, logarithmic) in shown.items():
        series = {
            f"{layer} {kinds[layer]}": points
            for layer, points in columns.get(column, {}).items()
            if kinds.get(layer) in of
        }
        if series:
            figures.append(plots.layers_figure(title, series, logarithmic))
    return figures


def _explained(it: Interpretation, model: "nn.Module", dataset: Dataset) -> dict[str, Any]:
    """The worst mistakes and two that it tells right: what speaks for which class, and what is near."""
    from underhood.analysis.attributions import contributions, multiply_adds, nearest

    valid, train = dataset.valid, dataset.train
    wrong = [row.index for row in it.top_losses(WRONG) if row.label != row.predicted]
    right = np.flatnonzero(it.right)
    chosen = [*wrong, *(int(right[i]) for i in spread(len(right), RIGHT + 2)[1:-1])]
    pictures = valid.pixels[chosen]
    rows = np.array(spread(len(train), max(1, EFFORT // multiply_adds(model, pictures[0]))))
    near = nearest(model, pictures, train, rows, NEAR)
    explained = []
    for i, picture, neighbours in zip(chosen, pictures, near.tolist(), strict=True):
        predicted, label = it.predicted[i], it.labels[i]
        cards = [card(picture, it.names[i])]
        for which in dict.fromkeys((predicted, label)):
            why = contributions(model, picture, int(which))
            name = it.classes[which]
            lines = f"{why.start:+.2f} and pixels {why.values.sum():+.2f}", f"make {why.logit:.2f}"
            cards.append({"image": heat(why.values).address, "name": f"for {name}", "lines": lines})
        truth = "" if label == predicted else f", and is {it.classes[label]}"
        explained.append({
            "title": f"Taken for {it.classes[predicted]} ({it.probability[i]:.0%}){truth}",
            "pictures": cards,
            "near": [card(train.pixels[j], train.names[j], train.classes[train.labels[j]]) for j in neighbours],
        })  # fmt: skip
    among = f"all {len(train):,}" if len(rows) == len(train) else f"{len(rows):,} of the {len(train):,}"
    return {"explained": explained, "among": among}
