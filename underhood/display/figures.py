"""Figures for the report and other pages: matplotlib as SVG or PNG, pixels as data URLs.

matplotlib is imported when a figure is drawn, and needs no screen. Headings are the page's business, not the figures'.
"""

import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from underhood.data.files import data_url, encode_png, printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK = "#010203"  # figures are drawn in this colour, and it is replaced by the page's own: light or dark
BLUE, ORANGE, GREEN = "#3b82c4", "#e08a2e", "#3f9e6b"  # readable on white and on black


def lr_curve(lrs: Sequence[float], losses: Sequence[float], suggestion: float | None) -> bytes:
    """The loss against the learning rate, with the suggestion marked, as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(lrs, losses, color="tab:blue")
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss, smoothed")
    axes.grid(alpha=0.3)
    if suggestion is not None:
        axes.axvline(suggestion, color="tab:orange", linestyle="--", label=f"suggested: {suggestion:.2g}")
        axes.legend()
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=120)
    return content.getvalue()


def loss_curve(steps: Sequence[Sequence[float]], valid: Sequence[Sequence[float]]) -> str:
    """The loss during training, as SVG. steps: (step, training loss); valid: (step, validation loss) of each epoch."""
    numbers, losses = np.array(steps).T
    width = max(1, len(losses) // 50)
    smooth = np.convolve(np.pad(losses, (width, width), mode="edge"), np.ones(2 * width + 1) / (2 * width + 1), "valid")
    with _svg_axes(5.2, 3.2) as (axes, svg):
        axes.plot(numbers, losses, color=BLUE, alpha=0.25, linewidth=0.8)
        axes.plot(numbers, smooth, color=BLUE, label="training")
        axes.plot(*np.array(valid).T, color=ORANGE, marker="o", markersize=3, label="validation")
        axes.set(xlabel="step", ylim=(0, float(np.percentile(losses, 99)) * 1.1 or 1.0))
        axes.legend(frameon=False, labelcolor=INK)
    return svg()


def metric_curve(values: Sequence[float]) -> str:
    """A metric over the epochs, as SVG."""
    with _svg_axes(5.2, 3.2) as (axes, svg):
        axes.plot(range(1, len(values) + 1), values, color=ORANGE, marker="o", markersize=3)
        axes.set(xlabel="epoch")
        axes.locator_params(axis="x", integer=True)
    return svg()


def learning_curve_figure(
    measured: Sequence[tuple[int, float, float, float]], more: int, gain: float, gain_interval: Sequence[float]
) -> str:
    """Accuracy against the number of training images, as SVG. measured: (images, accuracy, low, high).

    more: a number of images for which the accuracy is expected to be higher by ``gain``, and that by ``gain_interval``
    """
    from matplotlib import ticker

    sizes = [images for images, *_ in measured]
    accuracy, low, high = 100 * np.array([figures for _, *figures in measured]).T
    expected, least, most = (min(100.0, accuracy[-1] + 100 * value) for value in (gain, *gain_interval))
    with _svg_axes(5.2, 3.2) as (axes, svg):
        axes.errorbar(sizes, accuracy, [accuracy - low, high - accuracy], color=BLUE, marker="o", markersize=4,
                      capsize=3, label="measured")  # fmt: skip
        axes.plot([sizes[-1], more], [accuracy[-1], expected], color=ORANGE, linestyle="--")
        axes.errorbar([more], [expected], [[expected - least], [most - expected]], color=ORANGE, marker="o",
                      markersize=4, capsize=3, linestyle="--", label="expected")  # fmt: skip
        axes.set(xscale="log", xlabel="training images", ylabel="accuracy, %")
        axes.set_xticks([*sizes, more], [f"{size:,}" for size in (*sizes, more)])
        axes.xaxis.set_minor_locator(ticker.NullLocator())
        axes.legend(frameon=False, labelcolor=INK, fontsize=8, loc="lower right")
    return svg()


def schedule_curve(steps: Sequence[int], lrs: Sequence[float], momenta: Sequence[float | None]) -> str:
    """Learning rate and momentum over the steps, as SVG."""
    with _svg_axes(5.2, 3.2) as (axes, svg):
        lines = axes.plot(steps, lrs, color=BLUE, label="learning rate")
        axes.set(xlabel="step")
        if None not in momenta:
            other = axes.twinx()
            values = [momentum or 0.0 for momentum in momenta]
            lines += other.plot(steps, values, color=ORANGE, linestyle="--", label="momentum (right axis)")
            other.spines[["top", "left", "right", "bottom"]].set_visible(False)
        axes.legend(handles=lines, frameon=False, labelcolor=INK, fontsize=8, loc="lower center", ncols=2,
                    bbox_to_anchor=(0.5, 1.0))  # fmt: skip
    return svg()


def layers_figure(series: dict[str, list[tuple[float, float]]], logarithmic: bool) -> str:
    """A line for each layer over the steps, as SVG, the first layer dark, the last light. series: (step, value)."""
    import matplotlib
    from matplotlib import ticker

    colours = matplotlib.colormaps["viridis"](np.linspace(0.25, 0.9, len(series)))
    with _svg_axes(5.2, 3.2) as (axes, svg):
        for (name, points), colour in zip(series.items(), colours, strict=True):
            steps, values = np.array(points).T
            if logarithmic:
                values = np.where(values > 0, values, np.nan)
            axes.plot(steps, values, color=colour, label=name, marker="o", markersize=2, linewidth=1)
        axes.set(xlabel="step")
        if logarithmic:
            axes.set_yscale("log")
            low, high = axes.get_ylim()
            axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5) if high < 300 * low else (1,), numticks=8))
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.minorticks_off()
        if len(series) <= 6:
            axes.legend(frameon=False, labelcolor=INK, fontsize=8)
    return svg()


def confusion_figure(matrix: np.ndarray, classes: Sequence[str]) -> str:
    """A confusion matrix, int [classes, classes], as SVG.

    A row for each label, coloured by the fraction of the row; counts where there is room.
    """
    count = len(classes)
    fraction = matrix / np.maximum(1, matrix.sum(axis=1, keepdims=True))
    side = min(10.5, 2.2 + 0.42 * count)
    texts = [printable(name.encode("utf-8", "replace").decode()) for name in classes]  # bytes that are not text as "?"
    names = [name if len(name) <= 14 else f"{name[:6]}…{name[-7:]}" for name in texts]
    with _svg_axes(side + 1, side) as (axes, svg):
        axes.imshow(fraction**0.5, cmap="Blues", vmin=0, vmax=1, aspect="equal", interpolation="nearest")
        small = 9 if count <= 12 else 7 if count <= 30 else 5
        rotation = 90 if count > 12 or max(map(len, names)) > 3 else 0
        axes.set_xticks(range(count), names, rotation=rotation, fontsize=small)
        axes.set_yticks(range(count), names, fontsize=small)
        axes.set(xlabel="predicted", ylabel="label")
        axes.grid(visible=False)
        for row, column in np.argwhere(matrix).tolist() if count <= 24 else ():
            dark = fraction[row, column] > 0.35
            axes.text(
                column, row, f"{matrix[row, column]:,}", ha="center", va="center", fontsize=small,
                color="#ffffff" if dark else "#1c2430",
            )  # fmt: skip
    return svg()


def reliability_figure(rows: Sequence[tuple[float, float, int]]) -> str:
    """Accuracy against predicted probability, as SVG. rows: (mean probability, accuracy, images) of each bin."""
    with _svg_axes(5.2, 3.6) as (axes, svg):
        axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=":")
        most = max(n for _, _, n in rows)
        sizes = [20 + 180 * (n / most) ** 0.5 for _, _, n in rows]
        axes.plot([row[0] for row in rows], [row[1] for row in rows], color=BLUE, linewidth=1)
        axes.scatter([row[0] for row in rows], [row[1] for row in rows], s=sizes, color=BLUE, alpha=0.7)
        axes.set(xlim=(0, 1.03), ylim=(0, 1.06), xlabel="predicted probability", ylabel="accuracy")
    return svg()


def rejection_figure(rejected: Sequence[float], accuracy: Sequence[float]) -> str:
    """Accuracy of the rest against the fraction that is rejected, the least probable first, as SVG."""
    with _svg_axes(5.2, 3.6) as (axes, svg):
        axes.plot([100 * part for part in rejected], [100 * part for part in accuracy], color=GREEN)
        axes.set(xlim=(0, 50), xlabel="% rejected, the least probable first", ylabel="accuracy of the rest, %")
    return svg()


@contextmanager
def _svg_axes(width: float, height: float) -> "Iterator[tuple[Axes, Callable[[], str]]]":
    """Axes of this size, in inches, and a function that returns the SVG afterwards, in the page's own colour.

    Texts are drawn as they are: ``$`` in the name of a class starts no formula.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    inks = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    style: Any = dict.fromkeys(inks, INK) | {"svg.fonttype": "none", "svg.hashsalt": "underhood", "font.size": 10}
    style["text.parse_math"] = False
    with rc_context(style):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots()
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
        figure.patch.set_alpha(0)
        axes.patch.set_alpha(0)
        content = io.StringIO()

        def svg() -> str:
            text = content.getvalue()
            return text[text.index("<svg") :].replace(INK, "currentColor")

        yield axes, svg
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph")  # the browser's fonts have letters that are missing here
            figure.savefig(content, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))


class Thumbnail(NamedTuple):
    """An image in a page: its data URL, and the size at which it is shown, in pixels."""

    address: str
    width: int
    height: int


def thumbnail(pixels: np.ndarray, side: int = 112) -> Thumbnail:
    """One image, uint8 [c, h, w], shown about ``side`` pixels high."""
    return strip(pixels[None], side)


def strip(pixels: np.ndarray, side: int = 48, gap: int = 1) -> Thumbnail:
    """Images side by side, uint8 [n, c, h, w], shown about ``side`` pixels high: grey ones as PNG, others as WebP."""
    channels, height = pixels.shape[1:3]
    padded = np.pad(pixels, ((0, 0), (0, 0), (0, 0), (0, gap if len(pixels) > 1 else 0)), constant_values=128)
    row = padded.transpose(1, 2, 0, 3).reshape(channels, height, -1)  # [c, h, n · (w + gap)]
    scale = max(1, round(side / height))
    address = data_url(encode_png(row)) if channels == 1 else data_url(_encode_webp(row), "webp")
    return Thumbnail(address, row.shape[2] * scale, height * scale)


def heat(values: np.ndarray, side: int = 112) -> Thumbnail:
    """A number for each pixel, float [c, h, w], summed over channels: blue above 0, orange below, transparent at 0."""
    total = values.sum(axis=0)
    opacity = np.abs(total) / (np.abs(total).max() or 1.0)
    colour = np.where(total[..., None] > 0, (59, 130, 196), (224, 138, 46))
    rgba = np.concatenate([colour, np.round(255 * opacity**0.7)[..., None]], axis=2).astype(np.uint8)  # [h, w, 4]
    scale = max(1, round(side / len(total)))
    address = data_url(encode_png(rgba.transpose(2, 0, 1)))
    return Thumbnail(address, total.shape[1] * scale, total.shape[0] * scale)


def as_pixels(values: np.ndarray) -> np.ndarray:
    """Numbers of any size, float [c, h, w], as pixels, uint8 [c, h, w]: 0 is grey, ± the largest is white or black."""
    most = float(np.abs(values).max()) or 1.0
    return np.clip(127.5 + 127.5 * values / most, 0, 255).astype(np.uint8)


def spread(count: int, most: int) -> list[int]:
    """At most ``most`` of the numbers below ``count``, evenly spaced."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int)).tolist()


def first_of_each(labels: np.ndarray, classes: Sequence[str], most: int) -> list[list[int]]:
    """The indices of at most ``most`` images of each class, evenly spaced over the class. labels: int [n]."""
    found = []
    for label in range(len(classes)):
        rows = np.flatnonzero(labels == label)
        found.append([int(rows[i]) for i in spread(len(rows), most)] if len(rows) else [])
    return found


def _encode_webp(pixels: np.ndarray) -> bytes:
    """Pixels, uint8 [3, h, w], as a WebP file, which is much smaller than PNG for photographs."""
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(pixels.transpose(1, 2, 0)).save(content, "WEBP", quality=85)
    return content.getvalue()
