"""Is the model in training mode when it trains, and in evaluation mode when it is measured?"""

from underhood.diagnosis import Finding, fine, found
from underhood.diagnosis.case import Case

SUSPICION = "train() and eval() are mixed up"
SECONDS, AFTER = 0.0, ("no-gradient",)


def examine(case: Case) -> Finding | None:
    """Look at the layers of dropout and batch normalisation in each forward pass."""
    trace = case.trace
    if trace is None or not trace.steps:
        return None
    training, evaluation = list(trace.training), list(trace.evaluation)
    kinds = sorted({kind for one in training for kind in one.modes})
    if trace.forward_only_dropout:
        return found(
            "F.dropout was active while the model was in evaluation mode: it drops units in predictions, too",
            "F.dropout(x, training=self.training), or nn.Dropout",
        )
    for kind in kinds:
        off = [one.step for one in training if not one.modes.get(kind, True)]
        if len(off) > len(training) / 10:
            return found(
                f"{kind} was in evaluation mode in {len(off)} of {len(training)} training steps, from step "
                f"{off[0] + 1} on",
                "model.train() at the beginning of each epoch, after every model.eval()",
            )
        on = sum(one.modes.get(kind, False) for one in evaluation)
        if evaluation and on > len(evaluation) / 10:
            return found(
                f"{kind} was in training mode in {on} of {len(evaluation)} forward passes that measured: {_what(kind)}",
                "model.eval() before validation, and model.train() after it",
            )
    if not kinds:
        return fine("the model has no layer that works otherwise in training: no dropout, no batch normalisation")
    measured = f" and {len(evaluation)} evaluations" if evaluation else ""
    return fine(f"{' and '.join(kinds)} in the right mode in {len(training)} training steps{measured}")


def _what(kind: str) -> str:
    if kind == "dropout":
        return "units were dropped at random"
    return "predictions depended on the other images of the batch, and the layer learned from validation images"
