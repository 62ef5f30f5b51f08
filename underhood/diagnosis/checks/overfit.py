"""Did the run get worse on validation images while it got better on training images?"""

import numpy as np

from underhood.diagnosis import Finding, fine, found
from underhood.diagnosis.case import Case

SUSPICION = "the model learns the training images by heart, and gets worse on others"
SECONDS, AFTER = 0.0, ("labels", "preparation", "learning-rate")
WORSE, RISE, EPOCHS = 1.3, 0.05, 4  # of the lowest validation loss; added to it; epochs that a run needs to show it


def examine(case: Case) -> Finding | None:
    """Compare the losses of the last epoch with those of the best one."""
    rows = case.history
    if len(rows) < 2:
        return None
    train, valid = (np.array([row[name] for row in rows]) for name in ("train_loss", "valid_loss"))
    best, last = int(valid.argmin()), len(rows) - 1
    numbers = (
        f"the validation loss is lowest in epoch {best + 1} of {len(rows)}, {valid[best]:.3g}, and {valid[last]:.3g} "
        f"at the end; the training loss goes from {train[best]:.3g} to {train[last]:.3g}"
    )
    rises = valid[last] > WORSE * valid[best] + RISE and train[last] < train[best]
    rises &= rows[last].get("accuracy", 0.0) <= rows[best].get("accuracy", 0.0)  # or it is only more certain
    if len(rows) >= EPOCHS and best < last - 1 and rises:
        fix = f"underhood train {case.data()} --epochs {best + 1}; or --augment standard, or more images"
        return found(numbers, fix)
    return fine(numbers)
