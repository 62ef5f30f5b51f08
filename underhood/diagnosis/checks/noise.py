"""Is a difference in accuracy more than chance?"""

from dataclasses import replace
from math import sqrt

from underhood.analysis import wilson_interval
from underhood.diagnosis import Finding, fine, found, suspicious, worse
from underhood.diagnosis.case import Case
from underhood.diagnosis.trace import Trace

SUSPICION = "the accuracy would be another with another seed, or with other validation images"
SECONDS, AFTER = 3.0, ()
STEPS = 100
WIDE, VERY_WIDE = 0.1, 0.15  # half of the 95 % interval
UNSTABLE, ERRORS = 0.05, 3.0  # difference of the accuracy by the seed; of it in standard errors


def examine(case: Case) -> Finding | None:
    """Compute the interval of the accuracy, and train again with another seed."""
    if case.loaded is None or case.loop is None or not len(case.loaded.dataset.valid):
        return None
    count = len(case.loaded.dataset.valid)
    images, seeds = _of_images(case, count), _of_seeds(case, count)
    if images is None or seeds is None or seeds.verdict != "fine":
        return worse(images, seeds)
    return replace(images, evidence=f"{images.evidence}; {seeds.evidence}")


def _of_images(case: Case, count: int) -> Finding | None:
    """The finding on the number of validation images."""
    own = case.measured("valid_accuracy") or _accuracy(case.trace)
    if own is None:
        return None
    low, high = wilson_interval(round(own * count), count)
    half = (high - low) / 2
    numbers = (
        f"{count:,} validation images: an accuracy of {own:.1%} means {low:.1%} to {high:.1%}, so that differences of "
        f"less than {half:.1%} are chance"
    )
    fix = f"more validation images; or cross-validation: underhood train {case.data()} --folds 5"
    if half > VERY_WIDE:
        return found(numbers, fix)
    return suspicious(numbers, fix) if half > WIDE else fine(numbers)


def _of_seeds(case: Case, count: int) -> Finding | None:
    """The finding on two trainings that differ in their seed, as long as the run or STEPS, whichever is less."""
    steps = min(STEPS, len(case.trace.steps)) if case.trace else STEPS
    first, second = (_accuracy(case.again(steps=steps, seed=seed, evaluate=True)) for seed in (0, 1))
    if first is None or second is None:
        return None
    mean = (first + second) / 2
    numbers = f"after {steps} steps the accuracy is {first:.1%}, with another seed {second:.1%}"
    if abs(first - second) > max(UNSTABLE, ERRORS * sqrt(2 * mean * (1 - mean) / count)) and steps < STEPS:
        return suspicious(numbers, "compare means over several seeds (--seed 1, --seed 2, …), or train for longer")
    return fine(numbers)


def _accuracy(trace: Trace | None) -> float | None:
    answers = trace.answers() if trace else None
    return float((answers[0] == answers[1]).mean()) if answers else None
