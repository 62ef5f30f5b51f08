"""Are validation images among the training images?"""

import numpy as np

from underhood.diagnosis import Finding, fine, found
from underhood.diagnosis.case import Case

SUSPICION = "images that measure the model are among those that trained it"
SECONDS, AFTER = 0.0, ()
SHARE = 0.02  # of the images of a validation


def examine(case: Case) -> Finding | None:
    """Compare each image that was evaluated with those that were trained on."""
    trace = case.trace
    if trace is None:
        return None
    sides = [[one.rows for one in side if not np.isnan(one.mean)] for side in (trace.training, trace.evaluation)]
    if not all(sides):
        return None
    train = np.unique(np.concatenate(sides[0]))
    shares = np.array([np.isin(rows, train).mean() for rows in sides[1]])
    counts = np.array([len(rows) for rows in sides[1]])
    clean = shares <= SHARE
    if clean.any() and not clean.all() and (shares[~clean] > 0.2).all():  # two sets are measured, one of them training
        shares, counts = shares[clean], counts[clean]
    seen, total = float((shares * counts).sum()), int(counts.sum())
    if seen > max(1.5, SHARE * total):
        return found(
            f"{round(seen):,} of {total:,} images that were evaluated had been trained on before",
            "measure on images that are not in the training loader: hold them out before anything else is done",
        )
    return fine(f"{round(seen):,} of {total:,} images that were evaluated were among the {len(train):,} trained on")
