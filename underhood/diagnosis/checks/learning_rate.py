"""Is the learning rate too high or too low?"""

import math

import numpy as np

from underhood.diagnosis import Finding, fine, found, suspicious
from underhood.diagnosis.case import Case
from underhood.diagnosis.trace import Trace

SUSPICION = "the learning rate is too high or too low"
SECONDS = 4.0
AFTER = ("no-step", "zero-grad", "broadcast", "double-softmax", "wrong-loss", "no-gradient", "frozen-parameters",
         "data-order", "input-scale", "dead-units")  # fmt: skip
STEPS = 100
LEARNS = 0.7  # of the loss at the start, at most, is left where something is learned
BETTER, MUCH_BETTER = 0.7, 0.5  # of the loss with the learning rate as it is
NOTHING = 0.9  # of the loss at the start is left where nothing is learned
HIGH = 0.2  # of the loss at the start: below it, a lower learning rate may still be better, and does not matter
FURTHER = (0.01, 100.0, 0.001, 1000.0)  # tried where neither a tenth nor ten times helps


def examine(case: Case) -> Finding | None:
    """Train again from the same start with a tenth and with ten times the learning rate."""
    trace = case.trace
    if trace is None or len(trace.steps) < 10:
        return None
    steps = min(STEPS, len(trace.steps))
    first, own = trace.first_loss, _after(trace, steps)
    found_at = {factor: _after(case.again(steps=steps, updates=factor), steps) for factor in (0.1, 10.0)}
    start = _finite(first, found_at)
    learned = min(own, trace.last_loss) < LEARNS * start  # in all of the steps that were watched
    if not learned and min(found_at.values()) >= LEARNS * start:
        for factor in FURTHER:
            if case.left() < 2:
                break
            found_at[factor] = _after(case.again(steps=steps, updates=factor), steps)
            if found_at[factor] < LEARNS * start:
                break
    best = min(found_at, key=lambda factor: found_at[factor])
    tried = ", ".join(f"{value:.3g} with {_times(factor)}" for factor, value in sorted(found_at.items()))
    later = f", {trace.last_loss:.3g} after {len(trace.steps)}" if len(trace.steps) > steps else ""
    numbers = f"after {steps} steps the loss is {own:.3g} (at the start {first:.3g}{later}); {tried}"
    lr = f"lr={trace.lr * best:.2g} in place of {trace.lr:g}" if trace.lr else f"{_times(best)} the learning rate"
    too_high = found_at[0.1] < MUCH_BETTER * own and own > HIGH * start  # a smaller step gets further
    nothing = min(own, trace.last_loss) > NOTHING * start
    if (
        (too_high or nothing or (not learned and best < 1))
        and found_at[best] < MUCH_BETTER * own
        and found_at[best] < LEARNS * start
    ):
        return found(numbers, lr)
    if not learned and found_at[best] < BETTER * own:
        return suspicious(numbers, lr)
    return fine(numbers)


def _after(trace: Trace, steps: int) -> float:
    losses = trace.losses[max(0, steps - max(5, steps // 5)) : steps]
    return float(losses.mean()) if len(losses) and np.isfinite(losses).all() else math.inf


def _finite(start: float, found_at: dict[float, float]) -> float:
    """The loss at the start, or where it is infinite the largest of the others."""
    return start if math.isfinite(start) else max((one for one in found_at.values() if math.isfinite(one)), default=1.0)


def _times(factor: float) -> str:
    words = {0.1: "a tenth", 0.01: "a hundredth", 0.001: "a thousandth"}
    return words.get(factor, f"{factor:g} times")
