"""Are the colour channels in the same order everywhere?"""

from itertools import permutations

import numpy as np

from underhood.diagnosis import Finding, fine, found
from underhood.diagnosis.case import Case
from underhood.diagnosis.images import MOST, alike, own_parts

SUSPICION = "red, green and blue are in another order in validation than in training"
SECONDS, AFTER = 0.0, ("no-gradient", "data-order")
SURE = 6.0  # standard errors


def examine(case: Case) -> Finding | None:
    """Compare the channels' means in training and in validation, in each order."""
    return _in_training(case) if case.parts is None else _of_images(case)


def _of_images(case: Case) -> Finding | None:
    parts = own_parts(case)
    if parts is None or parts[0].pixels.shape[1] != 3:
        return None
    sides = [images.pixels.mean(axis=(2, 3)) for images in alike(*parts, MOST)]
    return compare_channels(sides[0], sides[1])


def _in_training(case: Case) -> Finding | None:
    trace = case.trace
    if trace is None:
        return None
    sides = [[one.colours for one in side if one.colours is not None] for side in (trace.training, trace.evaluation)]
    if not all(sides):
        return None
    train, valid = (np.concatenate(side) for side in sides)
    return compare_channels(train, valid)


def compare_channels(train: np.ndarray, valid: np.ndarray) -> Finding | None:
    """The finding on channel means of images, float [n, c] and [m, c]; None unless there are three channels."""
    if train.shape[1:] != (3,) or valid.shape[1:] != (3,) or min(len(train), len(valid)) < 20:
        return None
    own, other = (side - side.mean(axis=1, keepdims=True) for side in (train, valid))  # the colour, without brightness
    error = np.sqrt(own.var(0) / len(own) + other.var(0) / len(other)) + 1e-9
    apart = {
        order: float((np.abs(own.mean(0) - other.mean(0)[list(order)]) / error).max())
        for order in permutations(range(3))
    }
    same = apart.pop((0, 1, 2))
    best = min(apart, key=lambda order: apart[order])
    numbers = f"channel by channel, validation is {same:.1f} standard errors from training"
    if same > SURE and apart[best] < same / 2:
        names = "".join("RGB"[i] for i in best)
        return found(
            f"{numbers}; with its channels in the order {names} it is {apart[best]:.1f}",
            "read both in the same way: OpenCV gives blue, green, red, so image[:, :, ::-1]",
        )
    return fine(numbers)
