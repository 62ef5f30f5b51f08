"""Which model suits the data: candidates are compared by cross-validation inside the training images.

A backbone decides on photographs and loses on digits. What an image shows cannot be seen from its size or its colours,
so each candidate is trained on a part of the training images and tested on others of them; the validation images are
never looked at. A part alone would favour the backbone, which needs the fewest images: so there are two sizes, and the
error is extrapolated to all images.

Costs are counted in multiply-adds, not in seconds: equal data, seed and options make the equal choice on any machine.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import numpy as np

from underhood.analysis import wilson_interval
from underhood.data.read import LoadedData
from underhood.preparation import get_fit
from underhood.runs import write_csv
from underhood.training import RunLog
from underhood.training.config import DATA_SETS, ModelName, TrainConfig
from underhood.training.distributed import SINGLE_PROCESS, Processes
from underhood.training.recipe import choose_recipe
from underhood.training.setup import BACKBONE_SIZES, load_config_data

CANDIDATES_FILE = "candidates.csv"
CANDIDATE_COLUMNS = (
    "candidate", "model", "tune", "size", "gigaoperations", "images", "accuracy", "low", "high", "extrapolated",
    "chosen", "reason",
)  # fmt: skip
BUDGET = {"fast": 0.6e12, "normal": 1.6e12, "best": 12e12}  # multiply-adds of a training with its comparison
SMALL_BACKBONE = 128  # pixels a side, where the usual size would exceed the budget
SHARES = (0.4, 0.8)  # of the training images, on which candidates are trained to compare them
TRAINING = 3  # a step in forward passes: one forwards, two backwards
TUNING = 4.4  # the same of a backbone, whose layers do not fit the processor's cache


@dataclass
class Candidate:
    """A model, how it would be trained, and what was found out about it."""

    name: str  # scratch, frozen or tuned
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
        return f"{self.config.model} {layers[self.config.tune or 'none']}"

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
            return 1 - errors[large]
        power = np.log(errors[small] / errors[large]) / np.log(large / small)
        return float(1 - errors[large] * (large / count) ** np.clip(power, 0.0, 1.0))


def is_open(config: TrainConfig) -> bool:
    """Whether the model is to be chosen by evidence: none is asked for, and the data is not one of known digits."""
    return config.model is None and config.from_run is None and str(config.data) not in DATA_SETS


def choose_config(
    config: TrainConfig, log: RunLog, processes: Processes = SINGLE_PROCESS
) -> tuple[TrainConfig, list[Candidate]]:
    """``choose_model``, in the main process for all, where the model is open. Raises UnderhoodError."""
    if not is_open(config):
        return config, []
    chosen, candidates = choose_model(config, log) if processes.is_main else (config, [])
    return processes.broadcast(chosen), candidates


def choose_model(config: TrainConfig, log: RunLog) -> tuple[TrainConfig, list[Candidate]]:
    """The configuration with the model that suits the data, and what was tried, if anything. Raises UnderhoodError."""
    if config.tune in ("head", "all"):
        return replace(config, model="efficientnet_lite0"), []
    model = cast("ModelName", choose_recipe(1, config.effort).model)
    scratch = Candidate("scratch", replace(config, model=model, tune="none"))
    if config.tune == "none" or not _fits_backbone(config):
        return scratch.config, []
    scratch.loaded = load_config_data(scratch.config, None, log.reporter)
    count, budget = len(scratch.loaded.dataset.train), BUDGET[config.effort]
    scratch.operations = operations(scratch, count)
    candidates = [scratch, _frozen(config, count), _tuned(config, count)]
    for one in candidates[1:]:
        if one.operations > budget:
            one.reason = f"left out: over {budget / 1e12:g} T multiply-adds, the budget of --effort {config.effort}"
    left = [one for one in candidates if not one.reason]
    if len(left) > 1:
        from underhood.training.comparison import compare

        compare(left, config, budget, log)
    best = max(left, key=lambda one: (one.extrapolated(count), -one.operations) if one.right else (0.0, 0.0))
    for one in left:
        one.reason = one.reason or "a lower accuracy is expected"
    best.reason = "chosen: the highest accuracy is expected" if len(left) > 1 else "chosen: the only one in the budget"
    _report(candidates, best, count, log)
    return best.config, candidates


def _report(candidates: list[Candidate], best: Candidate, count: int, log: RunLog) -> None:
    log.log(f"models compared within the {count:,} training images, by cross-validation:")
    for one in candidates:
        if one.right:
            low, high = one.interval()
            found = f"{one.accuracy:.1%} ({low:.1%} to {high:.1%}) with {max(one.right):,}, "
            found += f"{one.extrapolated(count):.1%} expected with all"
        else:
            found = one.reason
        log.log(f"  {one.describe()}, {one.operations / 1e12:.2f} T multiply-adds: {found}")
    seconds = best.seconds * best.operations / best.done if best.done else 0
    estimate = f"; training it takes about {max(1, round(seconds)):,} s here" if seconds else ""
    log.log(f"{best.describe()} is chosen{estimate}")


def write_candidates(folder: Path, candidates: list[Candidate], count: int) -> None:
    """Write ``candidates.csv`` where models were compared. count: training images. Raises RunError."""
    rows: list[list[object]] = []
    for one in candidates:
        figures = [one.accuracy, *one.interval(), one.extrapolated(count)] if one.right else []
        rows.append([
            one.name, one.config.model, one.config.tune, one.config.size or "", f"{one.operations / 1e9:.1f}",
            one.compared or "", *(f"{figure:.6f}" for figure in figures), *([""] * (4 - len(figures))),
            int(one.reason.startswith("chosen")), one.reason,
        ])  # fmt: skip
    if rows:
        write_csv(folder / CANDIDATES_FILE, CANDIDATE_COLUMNS, rows)


def _fits_backbone(config: TrainConfig) -> bool:
    """Whether the other options leave room for a backbone."""
    from underhood.pretrained import SMALLEST

    digits = config.fit is not None and get_fit(config.fit).reads_digits
    return config.channels != 1 and (config.size or SMALLEST) >= SMALLEST and not digits


def _frozen(config: TrainConfig, count: int) -> Candidate:
    """A frozen backbone, at its usual size or, where only that is within the budget, at a smaller one."""
    for size in [config.size] if config.size else [BACKBONE_SIZES[config.effort], SMALL_BACKBONE]:
        one = Candidate("frozen", replace(config, model="efficientnet_lite0", tune="head", size=size))
        one.operations = operations(one, count)
        if one.operations <= BUDGET[config.effort]:
            break
    return one


def _tuned(config: TrainConfig, count: int) -> Candidate:
    """A backbone all of whose layers are tuned. Its comparison takes longer than its training: both are counted."""
    size = config.size or BACKBONE_SIZES[config.effort]
    one = Candidate("tuned", replace(config, model="efficientnet_lite0", tune="all", size=size))
    one.operations = operations(one, count) * (1 + sum(SHARES))
    return one


def operations(one: Candidate, count: int) -> float:
    """Multiply-adds of a training on so many images."""
    from underhood.analysis.inference import multiply_adds
    from underhood.core.models import Architecture
    from underhood.pretrained import create_model

    config, shape = one.config, (3, one.config.size or 0, one.config.size or 0)
    if one.loaded is not None:
        shape = one.loaded.preparation.channels, one.loaded.preparation.height, one.loaded.preparation.width
    recipe = choose_recipe(count, config.effort, config.model, config.epochs, tune=config.tune or "none")
    network = create_model(Architecture(str(config.model), *shape, 2))
    work = multiply_adds(network, np.zeros(shape, np.uint8)) * count
    if config.tune == "head":
        return work
    return work * recipe.epochs * TRAINING if config.tune == "none" else work * (1 + recipe.epochs * TUNING)
