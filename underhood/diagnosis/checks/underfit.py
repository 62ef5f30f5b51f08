"""Is the model too small, or was it trained for too short a time?"""

from underhood.diagnosis import Finding, fine, found, suspicious, worse
from underhood.diagnosis.case import Case

SUSPICION = "the model is too small, or was trained for too short a time"
SECONDS = 4.0
AFTER = ("learning-rate", "labels", "preparation", "input-scale", "nan", "no-step", "zero-grad", "data-order",
         "dead-units", "frozen-parameters", "no-gradient", "double-softmax")  # fmt: skip
STEPS = 150
HIGH, LOWER = 0.3, 0.7  # of the loss at the start; of the loss of the model as it is


def examine(case: Case) -> Finding | None:
    """Compare a run with pixel similarity, which learns nothing but mean images; train a model twice as wide."""
    return worse(_of_run(case), _of_width(case))


def _of_width(case: Case) -> Finding | None:
    """The finding on the same training with twice as many units in each hidden layer."""
    trace = case.trace
    if trace is None or case.kind == "script" or len(trace.steps) < STEPS // 3:
        return None
    steps = min(STEPS, len(trace.steps))
    wide = case.again(steps=steps, widen=True)
    if len(wide.steps) < steps:  # it cannot be widened, or there was no time
        return None
    own, lower, start = trace.loss_after(steps), wide.loss_after(steps), trace.first_loss
    numbers = (
        f"after {steps} steps the loss is {own:.3g} (at the start {start:.3g}); with twice as many units in each "
        f"hidden layer it is {lower:.3g}"
    )
    small = own > HIGH * start and lower < LOWER * own
    return suspicious(numbers, "more units in the hidden layers, or another model") if small else fine(numbers)


def _of_run(case: Case) -> Finding | None:
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
