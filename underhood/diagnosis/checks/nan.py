"""Are losses or gradients not numbers any more?"""

import numpy as np

from underhood.diagnosis import Finding, fine, found
from underhood.diagnosis.case import Case

SUSPICION = "the loss or a gradient is NaN or infinite, or too small for its data type"
SECONDS = 0.0
AFTER = ("zero-grad", "wrong-loss", "input-scale", "learning-rate")
LOST = 0.5  # of the numbers of a parameter that have a gradient
STEPS, WORSE = 60, 1.5  # times the loss in float32


def examine(case: Case) -> Finding | None:
    """Look for the first step whose loss or gradient is not finite."""
    trace = case.trace
    if trace is None or not trace.steps:
        return None
    bad = np.flatnonzero(~np.isfinite(trace.losses))
    gradients = np.flatnonzero(np.isnan([step.gradient for step in trace.steps]))
    reduced = _reduced(case)
    if reduced is not None or (not len(bad) and not len(gradients)):
        return reduced or fine(
            f"all {len(trace.steps)} losses are finite, from {trace.losses.min():.3g} to {trace.losses.max():.3g}"
        )
    step = int(min([*bad[:1], *gradients[:1]]))
    what = f"at step {step + 1} the loss is {trace.losses[step]:.3g}"
    what += "" if step in bad else " and a gradient is not finite"
    largest = trace.steps[step - 1].gradient if step else 0.0
    fix = "a tenth of the learning rate"
    if step == 0 or largest < 100:
        fix = "look for log(0), division by 0 or sqrt(0) in the loss: F.cross_entropy and F.*_with_logits avoid them"
    if not step:
        return found(f"{what}: from the very first", fix)
    return found(
        f"{what}; one step before it was {trace.losses[step - 1]:.3g}, with gradients up to {largest:.3g}", fix
    )


def _reduced(case: Case) -> Finding | None:
    """The finding on bfloat16 and float16: updates that are lost in rounding, a loss that is better in float32."""
    trace = case.trace
    assert trace is not None
    lost = max(trace.parameters.values(), key=lambda one: one.lost, default=None)
    if lost is not None and lost.lost > LOST and any(step.moved for step in trace.steps):
        kind = str(lost.parameter.dtype).removeprefix("torch.")
        return found(
            f"the parameters are {kind}: of the numbers in {lost.name} that have a gradient, a step leaves "
            f"{lost.lost:.0%} as they are, since the update is smaller than the rounding",
            "keep the parameters in float32, and compute with: with torch.autocast(device, dtype=torch.bfloat16):",
        )
    if not trace.autocast or len(trace.steps) < STEPS // 3 or case.left() < 2:
        return None
    steps = min(STEPS, len(trace.steps))
    own, exact = trace.loss_after(steps), case.again(steps=steps, precise=True).loss_after(steps)
    if own <= WORSE * exact:
        return None
    return found(
        f"after {steps} steps under torch.autocast the loss is {own:.3g}; in float32 it is {exact:.3g}",
        "compute the loss outside of autocast, in float32; with float16, use torch.amp.GradScaler, or use bfloat16",
    )
