"""Is a difference in accuracy more than chance?"""

from math import sqrt

from underhood.analysis import wilson_interval
from underhood.diagnosis import Finding, fine, found, suspicious
from underhood.diagnosis.case import Case
from underhood.diagnosis.trace import Trace

SUSPICION = "the accuracy would be another with another seed, or with other validation images"
SECONDS, AFTER = 3.0, ()
WIDE, VERY_WIDE = 0.1, 0.15  # half of the 95 % interval
UNSTABLE, ERRORS = 0.05, 3.0  # difference of the accuracy by the seed; of it in standard errors


def examine(case: Case) -> Finding | None:
    """Compute the interval of the accuracy, and train again with another seed."""
    if case.loaded is None or case.loop is None:
        return None
    count = len(case.loaded.dataset.valid)
    own = case.measured("valid_accuracy") or _accuracy(case.trace)
    if own is None or not count:
        return None
    low, high = wilson_interval(round(own * count), count)
    steps = min(100, len(case.trace.steps)) if case.trace else 100
    seeds = [_accuracy(case.again(steps=steps, seed=seed, evaluate=True)) for seed in (0, 1)]
    half = (high - low) / 2
    numbers = (
        f"{count:,} validation images: an accuracy of {own:.1%} means {low:.1%} to {high:.1%}, so that differences of "
        f"less than {half:.1%} are chance"
    )
    fix = f"more validation images; or cross-validation: underhood train {case.data()} --folds 5"
    first, second = seeds
    if first is not None and second is not None:
        numbers += f"; after {steps} steps the accuracy is {first:.1%}, with another seed {second:.1%}"
        mean = (first + second) / 2
        error = sqrt(2 * mean * (1 - mean) / count)
        if abs(first - second) > max(UNSTABLE, ERRORS * error) and steps == len(case.trace.steps if case.trace else ()):
            return suspicious(numbers, "compare means over several seeds: --seed 1, --seed 2, …; or train for longer")
    if half > VERY_WIDE:
        return found(numbers, fix)
    return suspicious(numbers, fix) if half > WIDE else fine(numbers)


def _accuracy(trace: Trace | None) -> float | None:
    answers = trace.answers() if trace else None
    return float((answers[0] == answers[1]).mean()) if answers else None
