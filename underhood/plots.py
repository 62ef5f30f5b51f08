"""Figures, as PNG bytes. matplotlib is imported when one is drawn, and draws without a screen."""

import io
from collections.abc import Sequence


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
