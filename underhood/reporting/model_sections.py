"""The sections of the report that need the model: its weights, its layers, and attributions of a few predictions."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from underhood.analysis.interpretation import Interpretation
from underhood.core.errors import RunError
from underhood.core.images import Dataset, Images
from underhood.data.files import read_csv
from underhood.display import figures

if TYPE_CHECKING:
    from torch import nn

FILTERS, WRONG, RIGHT, NEAREST = 64, 4, 2, 4  # how many are shown, at most
IMAGES_FOR_LAYERS = 512  # validation images
MAX_MULTIPLY_ADDS = 5e11  # for the search of the nearest training images: about three seconds on two cores
MAX_FLOAT = 3.4e38  # of what is drawn: the largest float32
WEIGHTED = ("Linear", "Conv2d", "ResidualBlock")
LAYER_FIGURES = {  # column of layers.csv → title, classes of layers, whether the axis is logarithmic
    "deviation": ("Standard deviation of a layer's outputs", WEIGHTED, True),
    "gradient": ("Norm of the weights' gradient", WEIGHTED, True),
    "update": ("Size of a step, relative to the weights", WEIGHTED, True),
    "zeros": ("Fraction of zeros after a ReLU", ("ReLU", "ResidualBlock"), False),
}


def model_sections(folder: Path, it: Interpretation, model: "nn.Module", dataset: Dataset) -> dict[str, Any]:
    """The content of these sections, for the template.

    Raises RunError if the run's ``layers.csv`` is damaged.
    """
    return {
        **_first_layer(model, dataset.valid),
        "layers": _layers(model, dataset.valid),
        "layer_figures": _layer_figures(folder / "layers.csv", model),
        **_explained(it, model, dataset),
    }


def card(pixels: np.ndarray, name: str, *lines: str) -> dict[str, Any]:
    """An image, uint8 [c, h, w], with a name and lines of text, for the template's macro ``card``."""
    return {"image": figures.thumbnail(pixels).address, "name": name, "lines": lines}


def _first_layer(model: "nn.Module", images: Images) -> dict[str, Any]:
    from underhood.analysis.inference import first_weights

    values = first_weights(model, images.pixels.shape[1:])
    assert values is not None  # a whole network begins with pixels
    per_class = False
    if values.shape[1:] == images.pixels.shape[1:]:
        per_class = len(values) == len(images.classes)
        text = "The weights of the first layer, an image for each " + ("class" if per_class else "activation")
    else:
        text = f"The {len(values)} filters of the first convolution"
    names = images.classes if per_class else [str(i) for i in range(len(values))]
    cards = [card(figures.as_pixels(value), names[i]) for i, value in enumerate(values[:FILTERS])]
    return {"first_layer": f"{text}: positive weights are light, negative ones dark.", "weights": cards}


def _layers(model: "nn.Module", images: Images) -> list[dict[str, str]]:
    """Statistics of each layer's outputs for validation images."""
    import torch

    from underhood.analysis.inference import predict_proba
    from underhood.training.layer_stats import watch_layers

    with watch_layers(model, every=1) as stats:
        predict_proba(model, images.pixels[figures.spread(len(images), IMAGES_FOR_LAYERS)])
    dead = stats.dead()
    rows = []
    for name, passes in stats.activations.items():
        mean, std, zeros = torch.stack(passes).mean(dim=0).tolist()
        rows.append({
            "layer": f"{name} {stats.kinds[name]}", "mean": f"{mean:.3f}", "std": f"{std:.3f}", "zeros": f"{zeros:.0%}",
            "dead": f"{len(dead[name])} of {len(stats.alive[name])}" if name in dead else "",
        })  # fmt: skip
    return rows


def _layer_figures(path: Path, model: "nn.Module") -> list[tuple[str, str]]:
    """(title, SVG) for the statistics in ``layers.csv``; [] if the training was too short for any, or has no file."""
    if not path.is_file():
        return []
    from underhood.training.layer_stats import layer_names

    kinds = layer_names(model)
    columns: dict[str, dict[str, list[tuple[float, float]]]] = {name: {} for name in LAYER_FIGURES}
    try:
        for row in read_csv(path):
            for column, of_layers in columns.items():
                if row[column]:
                    point = float(row["step"]), float(row[column])
                    if max(map(abs, point)) <= MAX_FLOAT:  # NaN and infinity cannot be drawn
                        of_layers.setdefault(row["layer"], []).append(point)
    except (OSError, ValueError, KeyError) as error:
        raise RunError(
            f"{path} is damaged or cannot be read ({error}): remove it, and the report leaves it out"
        ) from None
    shown = []
    for column, (title, classes, logarithmic) in LAYER_FIGURES.items():
        series = {
            f"{layer} {kinds[layer]}": points
            for layer, points in columns[column].items()
            if kinds.get(layer) in classes
        }
        if series:
            shown.append((title, figures.layers_figure(series, logarithmic)))
    return shown


def _explained(it: Interpretation, model: "nn.Module", dataset: Dataset) -> dict[str, Any]:
    """The worst mistakes and two correct predictions: attributions, and the nearest training images."""
    from underhood.analysis.attributions import integrated_gradients
    from underhood.analysis.inference import multiply_adds, nearest_images

    valid, train = dataset.valid, dataset.train
    wrong = [row.index for row in it.top_losses(WRONG) if row.label != row.predicted]
    right = np.flatnonzero(it.right)
    chosen = [*wrong, *(int(right[i]) for i in figures.spread(len(right), RIGHT + 2)[1:-1])]
    pixels = valid.pixels[chosen]
    rows = np.array(figures.spread(len(train), max(1, int(MAX_MULTIPLY_ADDS // multiply_adds(model, pixels[0])))))
    nearest = nearest_images(model, pixels, train, rows, NEAREST)
    explained = []
    for i, image, neighbours in zip(chosen, pixels, nearest.tolist(), strict=True):
        predicted, label = it.predicted[i], it.labels[i]
        cards = [card(image, it.names[i])]
        for which in dict.fromkeys((predicted, label)):
            found = integrated_gradients(model, image, int(which))
            lines = f"start {found.start:.2f}", f"pixels {found.values.sum():+.2f}", f"logit {found.logit:.2f}"
            cards.append(
                {"image": figures.heat(found.values).address, "name": f"for {it.classes[which]}", "lines": lines}
            )
        truth = "" if label == predicted else f", label {it.classes[label]}"
        explained.append({
            "title": f"Predicted {it.classes[predicted]} ({it.probability[i]:.0%}){truth}",
            "images": cards,
            "nearest": [card(train.pixels[j], train.names[j], train.classes[train.labels[j]]) for j in neighbours],
        })  # fmt: skip
    searched = f"all {len(train):,}" if len(rows) == len(train) else f"{len(rows):,} of the {len(train):,}"
    return {"explained": explained, "searched": searched}
