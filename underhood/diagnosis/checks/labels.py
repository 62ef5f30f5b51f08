"""Do the labels belong to the images?"""

import numpy as np

from underhood.core.errors import DivergedError, UnderhoodError
from underhood.diagnosis import Finding, fine, found, suspicious, worse
from underhood.diagnosis.case import Case
from underhood.diagnosis.images import MOST, cross_predict, some
from underhood.diagnosis.trace import Trace

SUSPICION = "labels are wrong, shuffled, or belong to other images"
SECONDS = 5.0
AFTER = ("preparation", "broadcast", "input-scale", "data-order")
FEW, FOLDS, NEIGHBOURS = 60, 5, 5
CLEAR = 0.25  # of the images: those with the most certain predictions, which are hardly ever wrong
SOME, MANY = 0.08, 0.12  # of these
LEARNS = 0.7  # of the loss at the start
SURELY = 0.2  # of accuracy above chance


def examine(case: Case) -> Finding | None:
    """Predict each label from other images; compare labels in training with chance, in validation with other orders."""
    trace = case.trace
    return worse(_mapping(trace) if trace else None, _of_images(case) or (_unrelated(trace) if trace else None))


def _of_images(case: Case) -> Finding | None:
    """The finding on training images whose label is contradicted by a model that was trained on others."""
    if case.parts is None or case.left() < 6:
        return None
    images = some(case.parts.images["train"], MOST)
    if len(images) < FEW or np.bincount(images.labels).min() < FOLDS:
        return None
    try:
        probabilities = cross_predict(case.parts, images)
    except (DivergedError, UnderhoodError):
        return None
    predicted, labels = probabilities.argmax(axis=1), images.labels
    clear = probabilities.max(axis=1) >= np.quantile(probabilities.max(axis=1), 1 - CLEAR)
    wrong = np.flatnonzero(clear & (predicted != labels))
    right, share = float((predicted == labels).mean()), len(wrong) / int(clear.sum())
    chance = float(np.max(np.bincount(labels)) / len(labels))
    worst = wrong[np.argsort(probabilities[wrong, labels[wrong]])][:2].tolist()
    examples = "; ".join(f"{images.names[i]}: {images.classes[predicted[i]]}?" for i in worst)
    numbers = (
        f"models that were trained on half of {len(images):,} training images give {right:.0%} of the others their "
        f"label (always the same answer: {chance:.0%}); of the {CLEAR:.0%} of which they are most certain, {share:.1%} "
        "have another label"
    )
    fix = f"underhood check {case.data()} --labels, and correct what it lists"
    if right < chance + 3 * np.sqrt(chance * (1 - chance) / len(images)):
        return found(numbers, "the labels have nothing to do with the images: take them from their source again")
    if share > MANY:
        return found(f"{numbers} ({examples})", fix)
    return suspicious(f"{numbers} ({examples})", fix) if share > SOME else fine(numbers)


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
    fix = "look at a batch with its labels; images and labels must be shuffled and sliced together"
    gained = _gained(trace)  # pixels of photographs say little: there a model learns more than neighbours show
    if right > chance + 3 * error or gained > SURELY:
        return fine(numbers)
    # A little more than chance says little: classes are clusters, and a model that knows nothing may hit one of them.
    return suspicious(numbers, fix) if gained > 0 else found(numbers, fix)


def _gained(trace: Trace) -> float:
    """By how much more than chance the model was right on images that were evaluated; 0 where that may be chance.

    Where none were evaluated, 1 if the loss fell, and else 0.
    """
    answers = trace.answers()
    if answers is None:
        return float(trace.last_loss < LEARNS * trace.first_loss)
    predicted, right = answers
    chance = float(np.unique(right, return_counts=True)[1].max() / len(right))
    gained = float((predicted == right).mean()) - chance
    return gained if gained > 3 * np.sqrt(chance * (1 - chance) / len(right)) else 0.0


def _mapping(trace: Trace) -> Finding | None:
    """The finding on what was predicted and what was right in validation, where classes seem to have other numbers."""
    from scipy.optimize import linear_sum_assignment

    answers = trace.answers()
    if answers is None:
        return None
    predicted, right = answers
    classes = np.unique(np.concatenate([predicted, right]))
    if len(right) < FEW or not 2 <= len(classes) <= 100:
        return None
    table = np.zeros((len(classes), len(classes)), int)
    np.add.at(table, (np.searchsorted(classes, predicted), np.searchsorted(classes, right)), 1)
    best = float(table[linear_sum_assignment(-table)].sum() / len(right))
    same, chance = float(np.trace(table) / len(right)), 1 / len(classes)
    if best > 3 * chance * (1 - chance) and best - same > 0.25 and same < max(0.4 * best, chance / 2):
        return found(
            f"{same:.0%} of {len(right):,} predictions are right in validation, and {best:.0%} would be if its classes "
            "had other numbers",
            "number the classes in the same order in training and in validation (sorted names, once)",
        )
    return None
