"""Are training and validation images prepared in the same way?"""

import numpy as np

from underhood.diagnosis import Finding, fine, found
from underhood.diagnosis.case import Case

SUSPICION = "validation images are prepared otherwise than training images"
SECONDS, AFTER = 0.0, ("channels",)
FAR, TIMES, SURE = 0.6, 1.8, 6.0  # deviations between means; ratio of deviations; standard errors


def examine(case: Case) -> Finding | None:
    """Compare what the first layer gets in training and in validation."""
    trace = case.trace
    if trace is None:
        return None
    passes = [[one for one in side if not np.isnan(one.mean)] for side in (trace.training, trace.evaluation)]
    if not all(passes):
        return None
    (mean, std, error), (other, spread, _) = (
        (np.mean([one.mean for one in side]), np.mean([one.std for one in side]),
         np.std([one.mean for one in side]) / np.sqrt(len(side))) for side in passes
    )  # fmt: skip
    numbers = (
        f"the first layer gets numbers with mean {mean:.3g} and deviation {std:.3g} in training, "
        f"and {other:.3g} and {spread:.3g} in validation"
    )
    shift, ratio = abs(mean - other) / max(std, 1e-9), max(std, spread) / max(min(std, spread), 1e-9)
    if ratio > TIMES or (shift > FAR and abs(mean - other) > SURE * error):
        return found(numbers, "prepare both in the same way: the same division, mean and deviation, those of training")
    return fine(numbers)
