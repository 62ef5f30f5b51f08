"""Is the model too small, or was it trained for too short a time?"""

from underhood.diagnosis import Finding, fine, found, suspicious
from underhood.diagnosis.case import Case

SUSPICION = "the model is too small, or was trained for too short a time"
SECONDS, AFTER = 0.0, ("learning-rate", "labels", "preparation", "input-scale", "nan", "no-step")


def examine(case: Case) -> Finding | None:
    """Compare the run's accuracy with pixel similarity's, which learns nothing but mean images."""
    accuracy, baseline = case.measured("valid_accuracy"), case.measured("baseline_accuracy")
    if accuracy is None or baseline is None or case.run is None:
        return None
    epochs = len(case.history)
    model = case.run.architecture.model
    numbers = (
        f"{model} has an accuracy of {accuracy:.1%} after {epochs} epoch{'s' * (epochs != 1)}; pixel similarity, which "
        f"compares with the mean image of each class, has {baseline:.1%}"
    )
    improving = epochs > 1 and case.history[-1]["valid_loss"] < 0.8 * case.history[-2]["valid_loss"]
    longer = f"underhood train {case.data()} --epochs {max(5, 3 * epochs)}"
    if accuracy < baseline:
        return found(numbers, longer + "; or another model: underhood ladder compares them")
    if improving and accuracy < (1 + baseline) / 2:
        return suspicious(f"{numbers}; the last epoch still lowered the validation loss by a fifth or more", longer)
    return fine(numbers)
