"""Do the parameters move?"""

from underhood.diagnosis import Finding, fine, found
from underhood.diagnosis.case import Case

SUSPICION = "the optimizer's step is missing, or it moves nothing"
SECONDS, AFTER = 0.0, ("no-gradient", "zero-grad", "nan")


def examine(case: Case) -> Finding | None:
    """Compare the parameters before and after each step."""
    trace = case.trace
    if trace is None or len(trace.steps) < 2:
        return None
    looked_at = [step.moved for step in trace.steps[:-1] if step.moved is not None]
    moved, steps = sum(looked_at), len(looked_at)
    if moved:
        return fine(f"parameters changed after {moved:,} of {steps:,} calls of backward")
    what = f"no parameter changed in {steps:,} steps: each has the very value that it began with"
    if trace.optimizer_steps:
        why = "it may hold other parameters than the model's, or a learning rate of 0"
        return found(
            f"{what}, though optimizer.step() was called {trace.optimizer_steps:,} times: {why}",
            "torch.optim.SGD(model.parameters(), lr=…), made after the model and of the same model",
        )
    return found(
        f"{what}; no optimizer's step() was called",
        "call optimizer.step() after loss.backward(); by hand: p.data -= lr * p.grad",
    )
