"""``ideals.npy``: each class's average training picture."""

import io
from pathlib import Path

import numpy as np

from underhood.runs.folder import Run, write_whole


def save_ideals(folder: Path, ideals: np.ndarray) -> None:
    """Write ``ideals.npy``. ideals: float [classes, c, h, w], 0 to 1."""
    content = io.BytesIO()
    np.save(content, np.round(255 * ideals).astype(np.uint8))
    write_whole(folder / "ideals.npy", content.getvalue())


def load_ideals(folder: Path, run: Run) -> np.ndarray | None:
    """Each class's average training picture, uint8 [classes, c, h, w]; None where the run has none that fit."""
    try:
        ideals = np.load(folder / "ideals.npy", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    a = run.architecture
    fits = ideals.dtype == np.uint8 and ideals.shape == (a.classes, a.channels, a.height, a.width)
    return ideals if fits else None
