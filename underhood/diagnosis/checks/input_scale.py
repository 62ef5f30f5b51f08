"""Are the pixels of a size that the first layer can work with?"""

import math

import numpy as np

from underhood.diagnosis import Finding, fine, found, suspicious, worse
from underhood.diagnosis.case import Case
from underhood.diagnosis.images import some

SUSPICION = "pixels reach the first layer in another range than it expects"
SECONDS, AFTER = 2.0, ()
LARGE, SMALL = 20.0, 0.04  # root mean square of what the first layer gets; 0 to 1 gives 0.1 to 0.7
CLEARLY = 0.8  # of the loss
DARK = 16  # of 255: images of which nearly all pixels are below show nothing


def examine(case: Case) -> Finding | None:
    """Look at the pixels; measure what the first layer gets, and train again with mean 0 and standard deviation 1."""
    return worse(_of_images(case), _in_training(case))


def _of_images(case: Case) -> Finding | None:
    if case.loaded is None:
        return None
    pixels = some(case.loaded.dataset.train).pixels
    highest = float(np.quantile(pixels, 0.999))
    numbers = f"of the pixels, which may be 0 to 255, 99.9 % are at most {highest:.0f}"
    if highest < DARK:
        return found(
            numbers, "store images with pixels from 0 to 255: were they divided by 255 before they were saved?"
        )
    return fine(numbers)


def _in_training(case: Case) -> Finding | None:
    trace = case.trace
    passes = trace.looked_at()[0] if trace else []
    if trace is None or not passes or passes[0].normalised:
        return None
    mean, deviation = (float(np.mean([getattr(one, name) for one in passes])) for name in ("mean", "std"))
    low, high = min(one.low for one in passes), max(one.high for one in passes)
    size = math.hypot(mean, deviation)
    numbers = f"the first layer gets {low:.3g} to {high:.3g}, mean {mean:.3g}, standard deviation {deviation:.3g}"
    if SMALL <= size <= LARGE:
        return fine(numbers)
    changed = case.again(steps=min(100, len(trace.steps)), standardise=True)
    now, then = trace.loss_after(len(changed.steps)), changed.last_loss
    what = f"{numbers}; after {len(changed.steps)} steps the loss is {now:.3g}, with standardised inputs {then:.3g}"
    fix = "divide the pixels by 255, or subtract the mean and divide by the standard deviation, of the training images"
    if size < SMALL:
        fix = fix.replace("divide the pixels by 255", "divide the pixels by 255 once only")
    return found(what, fix) if then < CLEARLY * now else suspicious(what, fix)
