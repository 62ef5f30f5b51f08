"""Does a rare class hide behind the accuracy?"""

import numpy as np

from underhood.diagnosis import Finding, fine, found
from underhood.diagnosis.case import Case

SUSPICION = "one class is so frequent that the accuracy says little"
SECONDS, AFTER = 0.0, ()
RATIO, LARGEST = 10.0, 0.8  # of the largest class to the smallest; of all images
COPES = 0.03  # balanced accuracy this near to the accuracy: the model knows the rare classes, too


def examine(case: Case) -> Finding | None:
    """Count the classes, and compare a run's balanced accuracy with its accuracy."""
    if case.loaded is None:
        return None
    train = case.loaded.dataset.train
    counts = np.bincount(train.labels, minlength=len(train.classes))
    most, least = int(counts.argmax()), int(counts.argmin())
    share, ratio = counts[most] / counts.sum(), counts[most] / max(1, counts[least])
    numbers = (
        f"{train.classes[most]} has {counts[most]:,} of {counts.sum():,} training images ({share:.0%}), "
        f"{train.classes[least]} {counts[least]:,}: who always answers {train.classes[most]} is right in {share:.0%}, "
        f"with a balanced accuracy of {1 / len(counts):.0%}"
    )
    if ratio < RATIO and share < LARGEST:
        return fine(numbers)
    accuracy, balanced = case.measured("valid_accuracy"), case.measured("balanced_accuracy")
    if accuracy is not None and balanced is not None:
        numbers += f"; this run has an accuracy of {accuracy:.1%} and a balanced accuracy of {balanced:.1%}"
        if balanced > accuracy - COPES:
            return fine(numbers)
    return found(numbers, f"underhood train {case.data()} --balance weights; report the balanced accuracy")
