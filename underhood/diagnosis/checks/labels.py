"""Do the labels belong to the images?"""

import numpy as np

from underhood.diagnosis import Finding, fine, found
from underhood.diagnosis.case import Case
from underhood.diagnosis.trace import Trace

SUSPICION = "labels are wrong, shuffled, or belong to other images"
SECONDS = 3.0
AFTER = ("preparation",)
FEW, FOLDS, NEIGHBOURS = 60, 5, 5
SIZE = 16  # pixels a side, to which images are reduced


def examine(case: Case) -> Finding | None:
    """Can the label of an image be told from its neighbours, better than with labels that are dealt out anew?"""
    trace = case.trace
    if trace is None:
        return None
    return _mapping(trace) or _unrelated(trace)


def _unrelated(trace: Trace) -> Finding | None:
    """The finding on the batches that were trained on."""
    from sklearn.model_selection import cross_val_predict
    from sklearn.neighbors import KNeighborsClassifier

    if not trace.batches or len({x.shape[1:] for x, _ in trace.batches}) > 1:
        return None
    x = np.concatenate([one.float().reshape(len(one), -1).numpy() for one, _ in trace.batches])
    y = np.concatenate(trace.targets[: len(trace.batches)])
    if len(x) != len(y) or len(np.unique(y)) < 2:
        return None
    _, first = np.unique(x @ np.random.default_rng(0).normal(size=x.shape[1]), return_index=True)  # each image once
    x, y = x[first][:2000], y[first][:2000]
    counts = np.unique(y, return_counts=True)[1]
    if len(x) < FEW or counts.min() < FOLDS:
        return None
    x = (x - x.mean(0)) / (x.std() + 1e-9)
    guess = cross_val_predict(KNeighborsClassifier(NEIGHBOURS), x, y, cv=FOLDS)
    right, chance = float((guess == y).mean()), float(((counts / len(y)) ** 2).sum())
    error = np.sqrt(chance * (1 - chance) / len(y))
    numbers = (
        f"the nearest images of an image have its label in {right:.0%} of {len(y):,} cases; "
        f"with labels that have nothing to do with the images it would be about {chance:.0%}"
    )
    if right < chance + 3 * error:
        return found(numbers, "look at a batch with its labels; images and labels must be shuffled and sliced together")
    return fine(numbers)


def _mapping(trace: Trace) -> Finding | None:
    """The finding on what was predicted and what was right in validation, where classes seem to have other numbers."""
    from scipy.optimize import linear_sum_assignment

    pairs = [one.answers for one in trace.evaluation if one.answers is not None]
    if not pairs:
        return None
    predicted, right = (np.concatenate(side) for side in zip(*pairs, strict=True))
    classes = np.unique(np.concatenate([predicted, right]))
    if len(right) < FEW or not 2 <= len(classes) <= 100:
        return None
    table = np.zeros((len(classes), len(classes)), int)
    np.add.at(table, (np.searchsorted(classes, predicted), np.searchsorted(classes, right)), 1)
    best = float(table[linear_sum_assignment(-table)].sum() / len(right))
    same = float(np.trace(table) / len(right))
    if best > 0.5 and best - same > 0.3 and same < 0.6 * best:
        return found(
            f"{same:.0%} of {len(right):,} predictions are right in validation, and {best:.0%} would be if its classes "
            "had other numbers",
            "number the classes in the same order in training and in validation (sorted names, once)",
        )
    return None
