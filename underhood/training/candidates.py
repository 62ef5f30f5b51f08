"""A model that may suit the data, what training it would cost, and what was found out about it."""

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

from underhood.analysis import wilson_interval
from underhood.core.errors import RunError
from underhood.data.read import LoadedData
from underhood.runs import read_rows, write_csv
from underhood.training.config import BACKBONES, TrainConfig
from underhood.training.recipe import choose_recipe

CANDIDATES_FILE = "candidates.csv"
CANDIDATE_COLUMNS = (
    "candidate", "model", "tune", "size", "augment", "flip", "gigaoperations", "images", "accuracy",
    "low", "high", "extrapolated", "chosen", "reason",
)  # fmt: skip
SHARES = (0.4, 0.8)  # of the training images, on which candidates are trained to compare them
TRAINING = 3  # a step in forward passes: one forwards, two backwards
TUNING = 4.4  # the same of a backbone, whose layers do not fit the processor's cache
DENSE = 1 / 8  # time of a multiply-add in vgg's thick layers over that in the thin ones of a backbone or of conv


@dataclass
class Candidate:
    """A model, how it would be trained, and what was found out about it."""

    name: str  # scratch, wide (the larger network from scratch), frozen or tuned
    config: TrainConfig  # with model, tune and size
    operations: float = 0.0  # multiply-adds of a full training
    loaded: LoadedData | None = None
    right: dict[int, list[bool]] = field(default_factory=dict)  # images trained on → which test images were right
    seconds: float = 0.0  # that the comparison took, and
    done: float = 0.0  # its multiply-adds
    reason: str = ""  # why it was left out or chosen

    def describe(self) -> str:
        """A few words, for the log."""
        layers = {"none": "from scratch", "head": "frozen, with a new head", "all": "all layers tuned"}
        moved = self.config.tune != "head"  # features are those of images as they are
        words = [f"{self.config.augment} augmentation"] if self.config.augment and moved else []
        words += ["mirrored"] if self.config.flip and moved else []
        return ", ".join([f"{self.config.model} {layers[self.config.tune or 'none']}", *words])

    def cost(self, multiply_adds: float) -> float:
        """Multiply-adds of this model as those of a backbone that take as long."""
        return multiply_adds * (1 if self.config.model in (*BACKBONES, "conv") else DENSE)

    @property
    def accuracy(self) -> float:
        """At the larger of the two sizes."""
        return sum(self.right[max(self.right)]) / self.compared

    @property
    def compared(self) -> int:
        """The number of images that it was tested on."""
        return len(self.right[max(self.right)]) if self.right else 0

    def interval(self, z: float = 1.96) -> tuple[float, float]:
        """Of the accuracy at the larger of the two sizes."""
        return wilson_interval(sum(self.right[max(self.right)]), self.compared, z)

    def extrapolated(self, count: int) -> float:
        """The accuracy to expect with ``count`` training images: the error falls by a power of their number."""
        errors = {n: (len(right) - sum(right) + 0.5) / (len(right) + 1) for n, right in self.right.items()}
        small, large = min(errors), max(errors)
        if small == large:
            return self.accuracy
        power = np.log(errors[small] / errors[large]) / np.log(large / small)
        return float(1 - (1 - self.accuracy) * (large / count) ** np.clip(power, 0.0, 1.0))


def write_candidates(folder: Path, candidates: list[Candidate], count: int) -> None:
    """Write ``candidates.csv`` where models were compared. count: training images. Raises RunError."""
    rows: list[list[object]] = []
    for one in candidates:
        figures = [one.accuracy, *one.interval()] if one.right else []
        figures += [one.extrapolated(count)] if len(one.right) > 1 else []
        rows.append([
            one.name, one.config.model, one.config.tune, one.config.size or "", one.config.augment or "",
            "" if one.config.flip is None else int(one.config.flip), f"{one.operations / 1e9:.1f}",
            one.compared or "", *(f"{figure:.6f}" for figure in figures), *([""] * (4 - len(figures))),
            int(one.reason.startswith("chosen")), one.reason,
        ])  # fmt: skip
    if rows:
        write_csv(folder / CANDIDATES_FILE, CANDIDATE_COLUMNS, rows)


def read_candidates(folder: Path) -> list[dict[str, str]]:
    """The rows of ``candidates.csv``; [] where no models were compared. Raises RunError if it is damaged."""
    path = folder / CANDIDATES_FILE
    if not path.is_file():
        return []
    try:
        rows = read_rows(path, CANDIDATE_COLUMNS)
        for name in ("accuracy", "low", "high", "extrapolated", "gigaoperations"):
            if not all(abs(float(row[name] or 0)) < 1e12 for row in rows):
                raise ValueError(f"its {name} cannot be read")
        return rows
    except ValueError as error:
        raise RunError(f"{path} is damaged ({error}): remove it, and the report leaves this section out") from None


def operations(one: Candidate, count: int) -> float:
    """Multiply-adds of a training on so many images."""
    config, shape = one.config, (3, one.config.size or 0, one.config.size or 0)
    if one.loaded is not None:
        shape = one.loaded.preparation.channels, one.loaded.preparation.height, one.loaded.preparation.width
    recipe = choose_recipe(count, config.effort, config.model, config.epochs, tune=config.tune or "none")
    work = _multiply_adds(str(config.model), shape) * count
    if config.tune == "head":
        return work
    return work * recipe.epochs * TRAINING if config.tune == "none" else work * (1 + recipe.epochs * TUNING)


@lru_cache
def _multiply_adds(model: str, shape: tuple[int, int, int]) -> int:
    """Of one image [c, h, w], forwards."""
    from underhood.analysis.inference import multiply_adds
    from underhood.core.models import Architecture
    from underhood.pretrained import create_model

    return multiply_adds(create_model(Architecture(model, *shape, 2)), np.zeros(shape, np.uint8))
