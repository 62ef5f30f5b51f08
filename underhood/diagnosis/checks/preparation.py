"""Are training and validation images prepared in the same way?"""

from contextlib import suppress

import numpy as np

from underhood.core.errors import UnderhoodError
from underhood.core.images import Images
from underhood.diagnosis import Finding, fine, found, suspicious
from underhood.diagnosis.case import Case
from underhood.diagnosis.images import LEAST_COLOUR, alike, own_parts, probe, probe_features, statistics, thumbnails
from underhood.diagnosis.trace import Pass

SUSPICION = "validation images are prepared otherwise than training images"
SECONDS, AFTER = 2.0, ("channels", "no-gradient", "data-order")
FAR, TIMES, SURE = 0.6, 1.8, 6.0  # of the standard deviation; its ratio; standard errors
SURELY, PERHAPS = 0.8, 0.7  # balanced accuracy of predicting the part; by chance it is 0.5
COUNT, FEWER, FEW = 800, 300, 40
ENOUGH = 20  # seconds that are left, of which a backbone may take some


def examine(case: Case) -> Finding | None:
    """Predict from an image whether it is a training or a validation image; compare what the first layer gets."""
    return _in_training(case) if case.parts is None else _of_images(case)


def _of_images(case: Case) -> Finding | None:
    parts = own_parts(case)
    if parts is None:
        return None
    train, valid = alike(*parts, COUNT)
    if len(train) < FEW:
        return None
    y = np.repeat([0, 1], [len(train), len(valid)])
    pixels = np.concatenate([train.pixels, valid.pixels])
    right = probe(np.concatenate([statistics(pixels), thumbnails(pixels)], axis=1), y)
    if right <= PERHAPS and pixels.shape[1] == 3 and min(pixels.shape[2:]) >= LEAST_COLOUR and case.left() > ENOUGH:
        with suppress(UnderhoodError):  # without the backbone's weights, brightness and thumbnails must do
            right, y = _by_content(*alike(*parts, FEWER))
    means = [images.pixels.mean() for images in (train, valid)]
    numbers = (
        f"whether an image is one of training or of validation is predicted correctly in {right:.0%} of {len(y):,} "
        f"cases, by chance 50%; the mean pixel is {means[0]:.0f} in training and {means[1]:.0f} in validation"
    )
    fix = "put images of one class from both side by side; prepare both with the same code, from the same kind of files"
    if right > SURELY:
        return found(numbers, fix)
    return suspicious(numbers, fix) if right > PERHAPS else fine(numbers)


def _by_content(train: Images, valid: Images) -> tuple[float, np.ndarray]:
    """How well a backbone's features predict the part, which know what lies on its side, and the parts, int [n]."""
    y = np.repeat([0, 1], [len(train), len(valid)])
    return probe_features(np.concatenate([train.pixels, valid.pixels]), y), y


def _in_training(case: Case) -> Finding | None:
    trace = case.trace
    if trace is None:
        return None
    passes = trace.looked_at()
    if not all(passes):
        return None
    (mean, std, error), (other, spread, _) = (_summary(side) for side in passes)
    numbers = (
        f"the first layer gets numbers with mean {mean:.3g} and standard deviation {std:.3g} in training, "
        f"and {other:.3g} and {spread:.3g} in validation"
    )
    shift, ratio = abs(mean - other) / max(std, 1e-9), max(std, spread) / max(min(std, spread), 1e-9)
    if ratio > TIMES or (shift > FAR and abs(mean - other) > SURE * error):
        fix = "prepare both in the same way: the same division, mean and standard deviation, those of training"
        return found(numbers, fix)
    return fine(numbers)


def _summary(passes: list[Pass]) -> tuple[float, float, float]:
    """Mean, standard deviation, and the standard error of the mean."""
    means, deviations = (np.array([getattr(one, name) for one in passes]) for name in ("mean", "std"))
    return float(means.mean()), float(deviations.mean()), float(means.std() / np.sqrt(len(means)))
