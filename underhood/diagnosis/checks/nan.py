"""Are losses or gradients not numbers any more?"""

import numpy as np

from underhood.diagnosis import Finding, fine, found
from underhood.diagnosis.case import Case

SUSPICION = "the loss or a gradient is NaN or infinite"
SECONDS = 0.0
AFTER = ("zero-grad", "wrong-loss", "input-scale", "learning-rate")


def examine(case: Case) -> Finding | None:
    """Look for the first step whose loss or gradient is not finite."""
    trace = case.trace
    if trace is None or not trace.steps:
        return None
    bad = np.flatnonzero(~np.isfinite(trace.losses))
    gradients = np.flatnonzero(np.isnan([step.gradient for step in trace.steps]))
    if not len(bad) and not len(gradients):
        return fine(
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
