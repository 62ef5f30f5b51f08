"""Are there units that are never active?"""

import numpy as np

from underhood.diagnosis import Finding, fine, found, suspicious
from underhood.diagnosis.case import Case

SUSPICION = "units of a layer are 0 for every image, and get no gradient"
SECONDS, AFTER = 0.0, ("input-scale", "no-step", "zero-grad", "nan")
MOST, MANY, SATURATED = 0.9, 0.7, 0.9


def examine(case: Case) -> Finding | None:
    """Look at the outputs of each activation function in the first step and in the last ones."""
    trace = case.trace
    if trace is None or not trace.units:
        return None
    first, last = ([float(1 - np.mean(one.active)) for one in units] for units in (trace.first_units, trace.units))
    worst = int(np.argmax(last))
    at_start = first[worst] if worst < len(first) else 0.0
    numbers = (
        f"after activation function {worst + 1} of {len(last)}, {last[worst]:.0%} of {len(trace.units[worst].active)} "
        f"units were 0 for all images of ten steps ({at_start:.0%} in the first step)"
    )
    fix = (
        "weights as torch starts them (or nn.init.kaiming_normal_), biases of 0, a lower learning rate, or nn.LeakyReLU"
    )
    full = max(trace.units[:-1], key=lambda one: one.saturated, default=None)  # the last one may be the output's
    if last[worst] >= MOST and at_start >= MOST:
        return found(numbers, fix)
    if full is not None and full.saturated >= SATURATED:
        return found(
            f"{full.saturated:.0%} of the outputs of a {full.name} are at its ends, where its gradient is nearly 0",
            "smaller weights at the start, inputs with mean 0 and standard deviation 1, or nn.ReLU",
        )
    return suspicious(numbers, fix) if last[worst] >= MANY else fine(numbers)
