"""``lr-find``: look for a learning rate by a short training at growing learning rates, and draw the curve."""

from pathlib import Path
from typing import TypedDict, Unpack

from underhood.core.errors import RunError
from underhood.preparation.files import expanduser
from underhood.runs import atomic_write
from underhood.runs.folder import require_writable
from underhood.training import Reporter, RunLog
from underhood.training.choice import is_open
from underhood.training.config import TrainConfig, TrainOptions
from underhood.training.setup import make_setup
from underhood.training.threads import cpu_threads


class LRFindResult(TypedDict):
    """What ``lr_find`` returns."""

    data: str
    model: str
    suggestion: float | None  # None where there is no clear minimum
    verdict: str  # one line that explains it
    lrs: list[float]
    losses: list[float]  # smoothed
    figure: str  # path


def lr_find(
    data: str | Path = "digits",
    *,
    figure: str | Path = "lr-find.png",
    reporter: Reporter | None = None,
    **options: Unpack[TrainOptions],
) -> LRFindResult:
    """Look for a learning rate by a short training at growing learning rates, and draw the curve.

    Models are not compared here: without ``model`` it is the one that ``train`` trains from scratch. Of a backbone, the
    layers that ``tune`` names are trained, the last one by default.

    options: the fields of ``TrainConfig``; figure: where the curve is drawn, as PNG
    Returns data, model, suggestion (None where there is no clear minimum), verdict (a line that explains it), lrs and
    losses (smoothed), figure. Raises UnderhoodError.
    """
    reporter = reporter or Reporter()
    figure = expanduser(figure)
    if figure.is_dir() or not figure.name:
        raise RunError(f"{figure} is a folder: name the file to draw, such as lr-find.png")
    require_writable(figure.parent)  # refuse before the work, not after
    if not figure.parent.is_dir():
        raise RunError(f"there is no folder {figure.parent}: create it, or draw elsewhere with --out")
    config = TrainConfig(data, **options)
    log = RunLog(reporter)
    setup = make_setup(config, log)
    layers = {"none": "", "head": "the last layer of ", "all": "all layers of "}[setup.recipe.tune]
    advice = "; train may choose another model: --model names it" if is_open(config) else ""
    log.log(f"looking for the learning rate of {layers}{setup.recipe.model}{advice}")

    from underhood.display.figures import lr_curve
    from underhood.training.lr_finder import lr_find as find

    with cpu_threads(setup, config.threads):
        curve = find(setup.learn)
    atomic_write(figure, lr_curve(curve.lrs, curve.losses, curve.suggestion))
    return {
        "data": str(data),
        "model": setup.recipe.model,
        "suggestion": curve.suggestion,
        "verdict": curve.verdict,
        "lrs": curve.lrs,
        "losses": curve.losses,
        "figure": str(figure),
    }
