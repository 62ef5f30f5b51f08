"""Which model suits the data: candidates are compared by cross-validation inside the training images.

A backbone decides on photographs and loses on digits. What an image shows cannot be seen from its size or its colours,
so each candidate is trained on a part of the training images and tested on others of them; the validation images are
never looked at. A part alone would favour the backbone, which needs the fewest images: so there are two sizes, and the
error is extrapolated to all images.

Costs are counted in multiply-adds, not in seconds: equal data, seed and options make the equal choice on any machine.
"""

from dataclasses import replace
from typing import cast

from underhood.preparation import get_fit
from underhood.training import RunLog
from underhood.training.candidates import SHARES, Candidate, operations
from underhood.training.comparison import compare
from underhood.training.config import DATA_SETS, ModelName, TrainConfig
from underhood.training.distributed import SINGLE_PROCESS, Processes
from underhood.training.recipe import choose_recipe
from underhood.training.setup import BACKBONE_SIZES, load_config_data

BUDGET = {"fast": 0.6e12, "normal": 1.6e12, "best": 12e12}  # multiply-adds of a training with its comparison
SMALL_BACKBONE = 128  # pixels a side, where the usual size would exceed the budget


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
    scratch = Candidate("scratch", replace(config, model=model, tune="none", weights=None))
    if config.tune == "none" or not _fits_backbone(config):
        return scratch.config, []
    scratch.loaded = load_config_data(scratch.config, None, log.reporter)
    count, budget = len(scratch.loaded.dataset.train), BUDGET[config.effort]
    scratch.operations = operations(scratch, count)
    candidates = [scratch, _frozen(config, count), _tuned(config, count)]
    for one in candidates[1:]:
        # the comparison of a tuned one takes longer than its training
        if one.operations * (1 + sum(SHARES) if one.name == "tuned" else 1) > budget:
            one.reason = f"left out: over {budget / 1e12:g} T multiply-adds, the budget of --effort {config.effort}"
    left = [one for one in candidates if not one.reason]
    if len(left) > 1:
        compare(left, config, budget, log)
    best = max(
        [one for one in left if not one.reason] or left,
        key=lambda one: (one.extrapolated(count), -one.operations) if one.right else (0.0, 0.0),
    )
    _give_reasons(left, best)
    _report(candidates, best, count, log)
    return best.config, candidates


def _give_reasons(left: list[Candidate], best: Candidate) -> None:
    for one in left:
        one.reason = one.reason or ("a lower accuracy is expected" if one.right else "not compared")
    why = "the highest accuracy is expected" if best.right else "no class has two images to compare models with"
    best.reason = "chosen: " + (why if len(left) > 1 else "the only one in the budget")


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
    measured = best.done and not (best.name == "scratch" and best.config.effort == "best")  # not on a stand-in
    seconds = best.seconds * best.operations / best.done if measured else 0
    estimate = f"; training it takes about {max(1, round(seconds)):,} s here" if seconds else ""
    log.log(f"{best.describe()} is chosen{estimate}")


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
    """A backbone all of whose layers are tuned."""
    size = config.size or BACKBONE_SIZES[config.effort]
    one = Candidate("tuned", replace(config, model="efficientnet_lite0", tune="all", size=size))
    one.operations = operations(one, count)
    return one
