"""``LivePanel``: the panel of a live page in a notebook, while the cell that trains is still at work.

    learn.fit(5, 0.01, on_step=LivePanel())

It can be watched and not steered: a notebook does nothing else until the cell has ended.
"""

import json
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from underhood.live.hub import Hub, as_json
from underhood.live.view import TrainingView

if TYPE_CHECKING:
    from underhood.core.learner import Learner, Step

PAGE = Path(__file__).parent / "page"
STYLE = Path(__file__).parent.parent / "display" / "page.css"


class LivePanel:
    """Shows a training in marimo or Jupyter, one panel for each call of ``fit``. Elsewhere it does nothing.

    A notebook needs anywidget: ``pip install 'underhood-vision[lessons]'``. Call it with the learner after each step.
    """

    def __init__(self) -> None:
        self.widget: Any = None  # of the training under way
        self._view: TrainingView | None = None
        self._epochs = 0

    def __call__(self, learn: "Learner", step: "Step") -> None:
        """Show a step, if it is time to."""
        if step.number == 1 or self._view is None or self._view.learn is not learn:
            self._start(learn, step)
        if self._view is None:
            return
        self._view.after_step(step.number, step.epoch_end)
        if step.epoch_end:
            self._view.end_epoch(step.number, last=step.number == step.total)
        if step.number == step.total:
            self._view.__exit__()

    def _start(self, learn: "Learner", step: "Step") -> None:
        if self._view is not None:  # of a training that was interrupted
            self._view.__exit__()
        self._view = None
        self.widget = make_widget()
        if self.widget is None:
            return
        self._view = TrainingView(learn, self.widget.emit).__enter__()
        self._view.start(step.total)
        show(self.widget)


def make_widget() -> Any:
    """A widget that draws what its ``emit(kind, content)`` is given; None outside of marimo and Jupyter."""
    if notebook() is None:
        return None
    try:
        return _widget_class()()
    except ImportError:
        return None


def notebook() -> str | None:
    """Where this code runs: marimo, jupyter, or None for neither."""
    marimo, ipython = sys.modules.get("marimo"), sys.modules.get("IPython")
    if marimo is not None and marimo.running_in_notebook():
        return "marimo"
    shell = ipython.get_ipython() if ipython is not None else None
    return "jupyter" if type(shell).__name__ == "ZMQInteractiveShell" else None


def show(widget: Any) -> None:
    """Show a widget below the cell that runs."""
    if notebook() == "marimo":
        import marimo

        marimo.output.append(marimo.ui.anywidget(widget))
    else:
        from IPython.display import display

        display(widget)


def panel_style() -> str:
    """The panel's style sheet, and that of the pages for what is inside the panel alone."""
    variables, star, rest = STYLE.read_text(encoding="utf-8").partition("\n* {")
    inside = f".panel {{{star}{rest}}}\n"
    return variables.replace(":root", ".panel") + inside + (PAGE / "panel.css").read_text(encoding="utf-8")


@cache
def _widget_class() -> type[Any]:
    import anywidget
    import traitlets

    script = (PAGE / "panel.js").read_text(encoding="utf-8") + (PAGE / "widget.js").read_text(encoding="utf-8")

    class PanelWidget(anywidget.AnyWidget):
        """The events of one training: the last of each kind, and the whole curve."""

        _esm, _css = script, panel_style()
        start, images, epochs, curve, frame = (traitlets.Dict({}).tag(sync=True) for _ in range(5))

        def __init__(self) -> None:
            super().__init__()
            self._hub = Hub()

        def emit(self, kind: str, content: dict[str, Any]) -> None:
            """Show an event."""
            if kind == "curve":
                self._hub.emit(kind, content)
                content = {"points": self._hub.points, "whole": True}
            self.set_trait(kind, json.loads(as_json(content)))  # as the page's events

    return PanelWidget
