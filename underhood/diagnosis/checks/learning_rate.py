"""Is the learning rate too high or too low?"""

import math

from underhood.diagnosis import Finding, fine, found, suspicious
from underhood.diagnosis.case import Case
from underhood.diagnosis.trace import Trace

SUSPICION = "the learning rate is too high or too low"
SECONDS = 4.0
AFTER = ("no-step", "zero-grad", "broadcast", "double-softmax", "wrong-loss", "no-gradient", "frozen-parameters",
         "data-order", "input-scale", "dead-units")  # fmt: skip
STEPS = 100
NOTHING, LEARNS = 0.95, 0.88  # of the loss at the start is left: nothing was learned; something was
SLOW, HIGH = 0.7, 0.2  # of the loss at the start: above it, faster would matter; below it, smaller steps would not
BETTER, MUCH_BETTER = 0.7, 0.5  # of the loss with the learning rate as it is
FURTHER = (0.01, 100.0, 0.001, 1000.0, 1e5)  # tried where neither a tenth nor ten times learns


def examine(case: Case) -> Finding | None:
    """Train again from the same start with a tenth and with ten times the learning rate."""
    trace = case.trace
    if trace is None or len(trace.steps) < 10:
        return None
    steps = min(STEPS, len(trace.steps))
    own = trace.loss_after(steps)
    losses = _tried(case, steps, trace.first_loss, min(own, trace.last_loss))
    start = _finite(trace.first_loss, losses)
    best = min(losses, key=lambda factor: losses[factor])
    left, gained = min(own, trace.last_loss) / start, losses[best] / max(own, 1e-12)
    numbers = _sentence(trace, steps, own, losses)
    lr = f"lr={trace.lr * best:.2g} in place of {trace.lr:g}" if trace.lr else f"{_times(best)} the learning rate"
    too_high = losses[0.1] < MUCH_BETTER * own and own > HIGH * start  # smaller steps get further
    if losses[best] < LEARNS * start and (too_high or left > NOTHING):
        return found(numbers, lr)
    return suspicious(numbers, lr) if left > SLOW and gained < BETTER else fine(numbers)


def _tried(case: Case, steps: int, start: float, own: float) -> dict[float, float]:
    """The loss after some steps with other learning rates, as factors of the loop's: until one of them learns."""
    losses = {factor: case.again(steps=steps, updates=factor).loss_after(steps) for factor in (0.1, 10.0)}
    for factor in FURTHER:
        learns = LEARNS * _finite(start, losses)
        if min(own, *losses.values()) < learns or case.left() < 2:
            break
        losses[factor] = case.again(steps=steps, updates=factor).loss_after(steps)
    return losses


def _sentence(trace: Trace, steps: int, own: float, losses: dict[float, float]) -> str:
    tried = ", ".join(f"{value:.3g} with {_times(factor)}" for factor, value in sorted(losses.items()))
    later = f", {trace.last_loss:.3g} after {len(trace.steps)}" if len(trace.steps) > steps else ""
    return f"after {steps} steps the loss is {own:.3g} (at the start {trace.first_loss:.3g}{later}); {tried}"


def _finite(start: float, found_at: dict[float, float]) -> float:
    """The loss at the start, or where it is infinite the largest of the others."""
    return start if math.isfinite(start) else max((one for one in found_at.values() if math.isfinite(one)), default=1.0)


def _times(factor: float) -> str:
    words = {0.1: "a tenth", 0.01: "a hundredth", 0.001: "a thousandth"}
    return words.get(factor, f"{factor:,.0f} times")
