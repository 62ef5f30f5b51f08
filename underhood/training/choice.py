"""Which model suits the data: candidates are compared by cross-validation inside the training images.

A backbone decides on photographs and loses on digits. What an image shows cannot be seen from its size or its colours,
so each candidate is trained on a part of the training images and tested on others of them; the validation images are
never looked at. A part alone would favour the backbone, which needs the fewest images: so there are two sizes, and the
error is extrapolated to all images. How the images may be moved, and whether they may be mirrored, is found out first,
in the same way, with the smallest network: a mirrored 3 is no 3, and a shoe that is turned does not occur.

Costs are counted in multiply-adds, not in seconds: equal data, seed and options make the equal choice on any machine.
"""

import itertools
import math
from dataclasses import replace
from typing import Literal, cast

import numpy as np

from underhood.analysis import fixed_and_broken
from underhood.core.errors import UnderhoodError
from underhood.data.read import LoadedData
from underhood.training import RunLog
from underhood.training.candidates import SHARES, Candidate, operations
from underhood.training.comparison import MOST_COMPARED, compare
from underhood.training.config import DIGIT_SETS, Augment, ModelName, TrainConfig
from underhood.training.distributed import SINGLE_PROCESS, Processes
from underhood.training.recipe import LEAST_EPOCHS_TO_AUGMENT, usual_epochs
from underhood.training.setup import BACKBONE_SIZES, load_config_data, why_no_backbone

BUDGET = {"fast": 0.6e12, "normal": 4e12, "best": 30e12}  # multiply-adds of a backbone that a training may take, and
COMPARISON = 0.15  # the fraction of them that a comparison may take beside its first fold
SMALLER_BACKBONES = 224, 128  # pixels a side, where the usual size would exceed the budget
SURELY = 1.645  # standard deviations: one-sided, at 5 %
HELPS = {"normal": SURELY, "best": 0.5}  # from which gain on images are mirrored: long trainings profit much more
TOLERANCE = {"fast": 0.01, "normal": 0.005, "best": 0.0}  # of accuracy, that a cheaper model may be expected to lose


def is_open(config: TrainConfig) -> bool:
    """Whether the model is to be chosen by evidence: none is asked for, and the data is not one of known digits."""
    return config.model is None and config.from_run is None and str(config.data) not in DIGIT_SETS


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
    if config.tune == "head":
        return replace(config, model="efficientnet_lite0"), []
    small = replace(config, model="conv", tune="none", weights=None)
    loaded = load_config_data(small, None, log.reporter)
    count, budget = len(loaded.dataset.train), BUDGET[config.effort]
    moved, tried = _choose_augmentation(config, small, loaded, log)
    config = replace(config, flip=_may_be_mirrored(tried) if config.flip is None else config.flip)
    if config.tune == "all":
        _report(tried, None, count, log)
        return replace(config, model="efficientnet_lite0"), tried
    candidates = _candidates(moved, config, loaded)
    _leave_out(candidates, config)
    left = [one for one in candidates if not one.reason]
    if len(left) > 1:
        compare(left, config, budget * COMPARISON, log)
    best = _best([one for one in left if not one.reason] or left or candidates[:1], count, TOLERANCE[config.effort])
    _give_reasons(left, best, len(left) < len(candidates))
    _report(tried + candidates, best, count, log)
    return best.config, tried + candidates


def _leave_out(candidates: list[Candidate], config: TrainConfig) -> None:
    """Give the candidates that cannot be trained, or not within the budget, the reason."""
    from underhood.pretrained.weights import shipped_weights_missing

    budget, missing = BUDGET[config.effort], None if config.weights is not None else shipped_weights_missing()
    for one in candidates:
        if missing and one.config.tune != "none":
            one.reason = f"left out: {missing}"
        elif _whole_cost(one) > budget:
            one.reason = f"left out: over the {budget / 1e12:g} T multiply-adds that --effort {config.effort} allows"


def _whole_cost(one: Candidate) -> float:
    """Of its training and, where that takes longer, of its comparison."""
    return one.cost(one.operations) * (1 + sum(SHARES) if one.name == "tuned" else 1)


def _best(candidates: list[Candidate], count: int, tolerance: float) -> Candidate:
    """The cheapest of those whose expected accuracy is, within the tolerance, the highest."""
    if not any(one.right for one in candidates):
        return candidates[0]
    expected = {id(one): one.extrapolated(count) for one in candidates if one.right}
    good = [one for one in candidates if expected.get(id(one), -1) >= max(expected.values()) - tolerance]
    return min(good, key=lambda one: (one.cost(one.operations), -expected[id(one)]))


def _candidates(moved: TrainConfig, config: TrainConfig, loaded: LoadedData) -> list[Candidate]:
    """The models that the options leave room for, and what their training takes.

    moved: the configuration of those from scratch, whose images are moved as helps them the most
    """
    names: dict[str, ModelName] = {"scratch": "conv", "wide": "vgg"}
    candidates = [
        Candidate(name, replace(moved, model=model, tune="none", weights=None), loaded=loaded)
        for name, model in names.items()
    ]
    count = len(loaded.dataset.train)
    if not why_no_backbone(config):
        candidates += [_backbone("frozen", config, count), _backbone("tuned", config, count)]
    for one in candidates:
        one.operations = one.operations or operations(one, count)
    wide = candidates[1]
    # It is never the worse one (docs/recipes.md), and the comparison's few images cannot show by how much.
    if config.effort != "fast" and wide.cost(wide.operations) <= BUDGET[config.effort]:
        return candidates[1:]
    return candidates


def _choose_augmentation(
    config: TrainConfig, small: TrainConfig, loaded: LoadedData, log: RunLog
) -> tuple[TrainConfig, list[Candidate]]:
    """The configuration with the augmentation and the mirroring that help a small network, and what was tried.

    Where images are seen too few times to be moved, or trying takes too long, nothing is tried. small: the
    configuration of that network
    """
    count = len(loaded.dataset.train)
    strengths: list[Augment] = [config.augment or "standard"]
    strengths += ["light"] if config.augment is None and config.tune != "all" else []
    flips = [False, True] if config.flip is None else [config.flip]
    epochs = config.epochs or usual_epochs(_part(count), "conv", config.effort)  # the more, the more it helps
    small = replace(small, effort="normal", epochs=epochs)
    tried = [
        Candidate("scratch", replace(small, augment=strength, flip=flip), loaded=loaded)
        for flip, strength in itertools.product(flips, strengths)
    ]
    if not _worth_trying(tried, config, count):
        return config, []
    try:
        compare(tried, small, COMPARISON * BUDGET[config.effort] / 2, log, shares=SHARES[-1:])
    except UnderhoodError:  # each diverged: other models may not
        return config, []
    if not all(one.right for one in tried):
        return config, []
    flip = flips[0] if len(flips) < 2 else _gain_of_mirroring(tried) > HELPS[config.effort]
    best = max((one for one in tried if one.config.flip == flip), key=lambda one: one.accuracy)
    for one in tried:
        one.operations = one.done
        one.reason = "helps the most" if one is best else "helps less"
    return replace(config, augment=best.config.augment, flip=flip), tried


def _worth_trying(tried: list[Candidate], config: TrainConfig, count: int) -> bool:
    """Whether there is a choice, images are seen often enough to be moved, and a fold is within the budget."""
    epochs = config.epochs or usual_epochs(count, "conv", config.effort)
    cost = sum(one.cost(operations(one, _part(count))) for one in tried)
    often = config.effort != "fast" and epochs >= LEAST_EPOCHS_TO_AUGMENT
    return often and len(tried) > 1 and cost <= BUDGET[config.effort] / 4


def _part(count: int) -> int:
    """How many of the training images train a network that is compared."""
    return math.ceil(min(count, MOST_COMPARED) * SHARES[-1])


def _tested(tried: list[Candidate], flip: bool) -> np.ndarray:
    """Which images were right with mirrored training images or without, of all strengths: bool [tests]."""
    common = min(one.compared for one in tried)  # some were given up after fewer folds
    rights = [right[:common] for one in tried if one.config.flip == flip for right in one.right.values()]
    return np.concatenate(rights)


def _gain_of_mirroring(tried: list[Candidate]) -> float:
    """By how many standard deviations mirroring helps, as in McNemar's test; below 0 where it makes things worse."""
    fixed, broken = fixed_and_broken(_tested(tried, False), _tested(tried, True))
    return (fixed - broken) / math.sqrt(max(1, fixed + broken))


def _may_be_mirrored(tried: list[Candidate]) -> bool | None:
    """Whether mirrored photographs may train a backbone: unless this surely makes a small network worse."""
    if len({one.config.flip for one in tried}) < 2:
        return None
    return _gain_of_mirroring(tried) >= -SURELY


def _give_reasons(left: list[Candidate], best: Candidate, fewer: bool) -> None:
    """Say of each why it was chosen or not. fewer: whether others were left out"""
    for one in left:
        one.reason = one.reason or ("a lower accuracy is expected" if one.right else "not compared")
    why = "the highest accuracy is expected" if best.right else "no class has two images to compare models with"
    only = "in the budget" if fewer else "that the options leave room for"
    alone = f"the only one {only}" if left else "the smallest, as none is in the budget"
    best.reason = "chosen: " + (why if len(left) > 1 else alone)


def _report(candidates: list[Candidate], best: Candidate | None, count: int, log: RunLog) -> None:
    if candidates:
        log.log(f"models compared within the {count:,} training images, by cross-validation:")
    for one in candidates:
        if one.right:
            low, high = one.interval()
            found = f"{one.accuracy:.1%} ({low:.1%} to {high:.1%}) with {max(one.right):,}"
            found += f", {one.extrapolated(count):.1%} expected with all" if len(one.right) > 1 else ""
        else:
            found = one.reason
        log.log(f"  {one.describe()}, {one.operations / 1e12:.2g} T multiply-adds: {found}")
    if best is not None:
        fewer = best.config.tune == "none" and best.config.effort == "best"  # epochs, in the comparison
        measured = best.done and not fewer
        seconds = best.seconds * best.operations / best.done if measured else 0
        estimate = f"; training it takes about {max(1, round(seconds)):,} s here" if seconds else ""
        log.log(f"{best.describe()} is chosen{estimate}")


def _backbone(name: str, config: TrainConfig, count: int) -> Candidate:
    """A backbone, frozen or tuned, at its usual size or, where only that is within the budget, at a smaller one.

    A tuned one at a smaller size is worth its time to the best effort alone.
    """
    tune = cast("Literal['head', 'all']", {"frozen": "head", "tuned": "all"}[name])
    largest = BACKBONE_SIZES[config.effort if name == "frozen" or config.effort == "fast" else "normal"]
    smaller = [size for size in SMALLER_BACKBONES if size < largest and (name == "frozen" or config.effort == "best")]
    for size in [config.size] if config.size else [largest, *smaller]:
        one = Candidate(name, replace(config, model="efficientnet_lite0", tune=tune, size=size))
        if name == "frozen":  # whose images are not moved
            one.config = replace(one.config, augment=None, flip=None)
        one.operations = operations(one, count)
        if _whole_cost(one) <= BUDGET[config.effort]:
            break
    return one
