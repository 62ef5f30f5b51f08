"""Are the batches shuffled, and are they not always the same?"""

from collections.abc import Sequence

import numpy as np

from underhood.diagnosis import Finding, fine, found, suspicious
from underhood.diagnosis.case import Case
from underhood.diagnosis.trace import Pass

SUSPICION = "images come ordered by class, or always in the same batches"
SECONDS, AFTER = 0.0, ()
SORTED = 0.5  # of the way from what shuffling gives to runs of a single class
FEW_BATCHES = 3


def examine(case: Case) -> Finding | None:
    """Count how often neighbours in the order have the same class, and how many batches there are."""
    trace = case.trace
    if trace is None or len(trace.steps) < 5:
        return None
    passes, _ = trace.looked_at()
    kinds = _distinct(passes)
    if passes and kinds < min(FEW_BATCHES, len(passes)) and len(passes) >= 10:
        times = f"{len(passes)} steps saw {'one batch' if kinds == 1 else f'{kinds} batches'} only, again and again"
        return found(times, "iterate over the loader, `for x, y in loader:`; next(iter(loader)) begins anew each time")
    labels = np.concatenate([*trace.targets, np.zeros(0, int)])
    batches = [one for one in trace.targets if len(one) > 1]
    if len(labels) < 20 or len(np.unique(labels)) < 2 or not batches:
        return None
    shares = np.unique(labels, return_counts=True)[1] / len(labels)
    chance = float((shares**2).sum())
    pairs = np.concatenate([one[1:] == one[:-1] for one in batches])
    same = float(pairs.mean())
    if (same - chance) / (1 - chance) > SORTED and len(pairs) > 20:
        alone = np.mean([len(np.unique(one)) == 1 for one in batches])
        return found(
            f"{same:.0%} of neighbours in the batches have the same class, where {chance:.0%} would after shuffling; "
            f"{alone:.0%} of the batches hold a single class",
            "DataLoader(…, shuffle=True) for training",
        )
    if repeats := _same_order(passes):
        return suspicious(
            f"each epoch has the same {repeats} batches in the same order", "DataLoader(…, shuffle=True) for training"
        )
    return fine(f"{same:.0%} of neighbours have the same class, and {chance:.0%} would by chance")


def _distinct(passes: Sequence[Pass]) -> int:
    """How many different sets of images there are."""
    return len({np.sort(one.rows).tobytes() for one in passes})


def _same_order(passes: Sequence[Pass]) -> int:
    """The number of batches after which they repeat, in the same order; 0 where they do not."""
    keys = [one.rows.tobytes() for one in passes]
    period = next((number for number in range(1, len(keys)) if keys[number] == keys[0]), 0)
    if period < 2 or len(keys) < 2 * period:
        return 0
    return period if all(keys[i] == keys[i + period] for i in range(period)) else 0
