"""Figures: PNG bytes, or SVG for the report's page. matplotlib is imported when one is drawn, and needs no screen."""

import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes


def rate_curve(lrs: Sequence[float], losses: Sequence[float], suggestion: float | None) -> bytes:
    """The loss against the learning rate, with the suggestion marked."""
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


INK = "#010203"  # drawn in this, and turned into the page's own colour: light or dark
BLUE, ORANGE, GREEN = "#3b82c4", "#e08a2e", "#3f9e6b"  # to be told apart on white and on black


def loss_curve(steps: Sequence[Sequence[float]], valid: Sequence[Sequence[float]]) -> str:
    """The loss while it trains, as SVG. steps: (step, training loss); valid: (step, validation loss) as epochs end."""
    import numpy as np

    numbers, losses = np.array(steps).T
    width = max(1, len(losses) // 50)
    smooth = np.convolve(np.pad(losses, (width, width), mode="edge"), np.ones(2 * width + 1) / (2 * width + 1), "valid")
    with _drawing(5.2, 3.2) as (axes, svg):
        axes.plot(numbers, losses, color=BLUE, alpha=0.25, linewidth=0.8)
        axes.plot(numbers, smooth, color=BLUE, label="training")
        axes.plot(*np.array(valid).T, color=ORANGE, marker="o", markersize=3, label="validation")
        axes.set(xlabel="step", title="Loss", ylim=(0, float(np.percentile(losses, 99)) * 1.1 or 1.0))
        axes.legend(frameon=False, labelcolor=INK)
    return svg()


def metric_curve(name: str, values: Sequence[float]) -> str:
    """A metric over the epochs, as SVG."""
    with _drawing(5.2, 3.2) as (axes, svg):
        axes.plot(range(1, len(values) + 1), values, color=ORANGE, marker="o", markersize=3)
        axes.set(xlabel="epoch", title=f"{name.capitalize()} on the validation pictures")
        axes.locator_params(axis="x", integer=True)
    return svg()


def schedule_curve(steps: Sequence[int], rates: Sequence[float], momenta: Sequence[float | None]) -> str:
    """Rate and momentum over the steps, as SVG."""
    with _drawing(5.2, 3.2) as (axes, svg):
        axes.plot(steps, rates, color=BLUE)
        axes.set(xlabel="step", title="Rate (line) and momentum (dashes)")
        if None not in momenta:
            other = axes.twinx()
            other.plot(steps, [momentum or 0.0 for momentum in momenta], color=ORANGE, linestyle="--")
            other.spines[["top", "left", "right", "bottom"]].set_visible(False)
    return svg()


def layers_figure(title: str, series: dict[str, list[tuple[float, float]]], logarithmic: bool) -> str:
    """A line a layer over the steps, as SVG, from the first, dark, to the last, light. series: (step, value)."""
    import matplotlib
    import numpy as np
    from matplotlib import ticker

    colours = matplotlib.colormaps["viridis"](np.linspace(0.25, 0.9, len(series)))
    with _drawing(5.2, 3.2) as (axes, svg):
        for (name, points), colour in zip(series.items(), colours, strict=True):
            steps, values = np.array(points).T
            if logarithmic:
                values = np.where(values > 0, values, np.nan)
            axes.plot(steps, values, color=colour, label=name, marker="o", markersize=2, linewidth=1)
        axes.set(xlabel="step", title=title)
        if logarithmic:
            axes.set_yscale("log")
            low, high = axes.get_ylim()
            axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5) if high < 300 * low else (1,), numticks=8))
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.minorticks_off()
        if len(series) <= 6:
            axes.legend(frameon=False, labelcolor=INK, fontsize=8)
    return svg()


def confusion_figure(matrix: "np.ndarray", classes: Sequence[str]) -> str:
    """What is taken for what, as SVG: a row a class, in fractions of the row; numbers where there is room."""
    import numpy as np

    count = len(classes)
    fraction = matrix / np.maximum(1, matrix.sum(axis=1, keepdims=True))
    side = min(10.5, 2.2 + 0.42 * count)
    texts = [name.encode("utf-8", "replace").decode() for name in classes]  # a file name may hold what is not text
    names = [name if len(name) <= 14 else f"{name[:6]}…{name[-7:]}" for name in texts]
    with _drawing(side + 1, side) as (axes, svg):
        axes.imshow(fraction**0.5, cmap="Blues", vmin=0, vmax=1, aspect="equal", interpolation="nearest")
        small = 9 if count <= 12 else 7 if count <= 30 else 5
        upright = 90 if count > 12 or max(map(len, names)) > 3 else 0
        axes.set_xticks(range(count), names, rotation=upright, fontsize=small)
        axes.set_yticks(range(count), names, fontsize=small)
        axes.set(xlabel="predicted", ylabel="true")
        axes.grid(visible=False)
        for row, column in np.argwhere(matrix).tolist() if count <= 24 else ():
            dark = fraction[row, column] > 0.35
            axes.text(
                column, row, f"{matrix[row, column]:,}", ha="center", va="center", fontsize=small,
                color="#ffffff" if dark else "#1c2430",
            )  # fmt: skip
    return svg()


def reliability_figure(rows: Sequence[tuple[float, float, int]]) -> str:
    """How right the model is where it is so sure, as SVG. rows: (mean probability, accuracy, pictures) of each bin."""
    with _drawing(5.2, 3.6) as (axes, svg):
        axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=":")
        most = max(n for _, _, n in rows)
        sizes = [20 + 180 * (n / most) ** 0.5 for _, _, n in rows]
        axes.plot([row[0] for row in rows], [row[1] for row in rows], color=BLUE, linewidth=1)
        axes.scatter([row[0] for row in rows], [row[1] for row in rows], s=sizes, color=BLUE, alpha=0.7)
        axes.set(xlim=(0, 1.03), ylim=(0, 1.06), xlabel="how sure it is", ylabel="how often it is right")
        axes.set_title("On the dotted line, it is as right as it is sure")
    return svg()


def rejection_figure(rejected: Sequence[float], accuracy: Sequence[float]) -> str:
    """Accuracy of the rest against the fraction that is rejected, the least sure first, as SVG."""
    with _drawing(5.2, 3.6) as (axes, svg):
        axes.plot([100 * part for part in rejected], [100 * part for part in accuracy], color=GREEN)
        axes.set(xlim=(0, 50), xlabel="% rejected, the least sure first", ylabel="% right of the rest")
        axes.set_title("If it may say: not sure")
    return svg()


@contextmanager
def _drawing(width: float, height: float) -> "Iterator[tuple[Axes, Callable[[], str]]]":
    """Axes of so many inches, and what gives the SVG afterwards: its text and lines in the page's own colour."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    inks = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    style: Any = dict.fromkeys(inks, INK) | {"svg.fonttype": "none", "svg.hashsalt": "underhood", "font.size": 10}
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
            warnings.filterwarnings(
                "ignore", message="Glyph"
            )  # the page's reader has the letters that are missing here
            figure.savefig(content, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
