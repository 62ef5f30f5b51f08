"""Figures for notebooks, with matplotlib: images, functions, batches, results and losses.

Each function returns the axes or the figure that it drew. Outside of a notebook, call ``plt.show()`` or
``figure.savefig`` afterwards.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from underhood.core.learner import Learner, Recorder
    from underhood.core.loader import DataLoaders


def show_image(
    image: Any, ax: "Axes | None" = None, figsize: tuple[float, float] | None = None, title: str | None = None,
    **options: Any,
) -> "Axes":  # fmt: skip
    """Draw an image: a tensor, array or PIL image, [h, w], [c, h, w] or [h, w, c].

    Floating-point colours are from 0 to 1 or from 0 to 255. options: arguments of ``imshow``, such as ``cmap="Greys"``
    for black ink on white
    """
    import matplotlib.pyplot as plt

    array = np.asarray(image.detach().cpu() if hasattr(image, "detach") else image)
    if array.ndim == 3 and array.shape[0] in (1, 3):
        array = array.transpose(1, 2, 0)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim == 3 and array.dtype != np.uint8:
        array = np.clip(array / (255 if array.max() > 1 else 1), 0, 1)
    ax = ax or plt.subplots(figsize=figsize)[1]
    ax.imshow(array, **({"cmap": "gray"} | options))
    ax.set_axis_off()
    if title is not None:
        ax.set_title(title)
    return ax


def show_pixels(image: Any, most: int = 28, side: float = 0.22) -> "Axes":
    """Draw a grey image [h, w] as a table of its numbers, each on its shade: at most ``most`` rows and columns.

    side: of a number's cell, in inches
    """
    import matplotlib.pyplot as plt

    array = np.asarray(image)[:most, :most]
    height, width = array.shape
    ax = plt.subplots(figsize=(width * side, height * side))[1]
    ax.imshow(array, cmap="Greys", vmin=0, vmax=255 if array.max() > 1 else 1)
    middle = 127 if array.max() > 1 else 0.5
    for (row, column), value in np.ndenumerate(array):
        colour = "white" if value > middle else "black" if value else "0.75"
        ax.text(column, row, f"{value:.3g}", ha="center", va="center", fontsize=22 * side, color=colour)
    ax.set_axis_off()
    ax.figure.tight_layout(pad=0)  # type: ignore[union-attr]
    return ax


def show_images(
    images: Sequence[Any], titles: Sequence[str] = (), columns: int = 3, side: float = 1.8, **options: Any
) -> "Figure":
    """Draw images in rows, each ``side`` inches wide, with a title each if there are titles.

    options: arguments of ``imshow``, as in ``show_image``
    """
    import matplotlib.pyplot as plt

    columns = max(1, min(columns, len(images)))
    rows = max(1, -(-len(images) // columns))
    figure, axes = plt.subplots(rows, columns, figsize=(columns * side, rows * side * 1.15), squeeze=False)
    for place, ax in enumerate(axes.flat):
        if place < len(images):
            show_image(images[place], ax, title=titles[place] if titles else None, **options)
        else:
            ax.set_axis_off()
    figure.tight_layout()
    return figure


def plot_function(
    f: Callable[[Any], Any], tx: str | None = None, ty: str | None = None, title: str | None = None, min: float = -2,
    max: float = 2, figsize: tuple[float, float] = (6, 4),
) -> "Axes":  # fmt: skip
    """Draw a function of a tensor [100], such as ``lambda x: x**2`` or ``torch.sigmoid``, between min and max."""
    import matplotlib.pyplot as plt
    import torch

    x = torch.linspace(min, max, 100)
    ax = plt.subplots(figsize=figsize)[1]
    ax.plot(x, f(x).detach())
    ax.set(xlabel=tx or "", ylabel=ty or "", title=title or "")
    return ax


def show_batch(dls: "DataLoaders", max_n: int = 9) -> "Figure":
    """Draw the first images of the first training batch, augmented as the model receives them, with their classes."""
    x, y = _first_batch(dls.train)
    return show_images(x[:max_n].cpu(), [_name(dls, label) for label in y[:max_n].tolist()])


def show_results(learn: "Learner", max_n: int = 9) -> "Figure":
    """Draw the first validation images with label and prediction, green if they are equal and red if not."""
    from underhood.analysis.inference import predict_proba

    x, y = _first_batch(learn.dls.valid)
    predicted = predict_proba(learn.model, x[:max_n], learn.device).argmax(dim=1).tolist()
    labels = y[:max_n].tolist()
    titles = ["\n".join(_name(learn.dls, i) for i in pair) for pair in zip(labels, predicted, strict=True)]
    figure = show_images(x[:max_n].cpu(), titles)
    for ax, label, guess in zip(figure.axes, labels, predicted, strict=False):
        ax.title.set_color("tab:green" if label == guess else "tab:red")
    return figure


def plot_loss(recorder: "Recorder", skip_start: int = 5, with_valid: bool = True) -> "Axes":
    """Draw the loss of each step after the first ``skip_start``, and the validation loss at the end of each epoch."""
    import matplotlib.pyplot as plt

    ax = plt.subplots()[1]
    steps = np.arange(1, len(recorder.losses) + 1)
    ax.plot(steps[skip_start:], recorder.losses[skip_start:], label="train")
    if with_valid and recorder.values:
        ends = np.arange(1, len(recorder.values) + 1) * (len(steps) / len(recorder.values))
        ax.plot(ends, [row[1] for row in recorder.values], marker="o", label="valid")
    ax.set(xlabel="step", ylabel="loss")
    ax.legend()
    return ax


def _first_batch(dl: Any) -> Any:
    """The first batch, (inputs, targets), without starting an epoch of our own loader."""
    return next(dl.batches() if hasattr(dl, "batches") else iter(dl))


def _name(dls: "DataLoaders", label: int) -> str:
    """The name of a class as matplotlib draws it: ``$`` starts no formula."""
    from underhood.data.files import printable

    return printable(dls.classes[label]).replace("$", r"\$") if dls.classes else str(label)
