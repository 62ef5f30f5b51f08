"""Is each prediction compared with every target?"""

from underhood.diagnosis import Finding, fine, found
from underhood.diagnosis.case import Case

SUSPICION = "shapes differ, and broadcasting compares each prediction with every target"
SECONDS, AFTER = 0.0, ()


def examine(case: Case) -> Finding | None:
    """Look at the shapes that meet in each function of torch after a forward pass."""
    trace = case.trace
    if trace is None or not trace.steps:
        return None
    if not trace.broadcasts:
        return fine("no [n, 1] met an [n] between the model's outputs and the loss or the metrics")
    name, (first, second, in_loss) = max(trace.broadcasts.items(), key=lambda item: item[1][2])
    where = "in the loss" if in_loss else "where predictions are counted"
    n = first[0]
    return found(
        f"{where}, `{name}` gets {list(first)} and {list(second)}, which become [{n}, {n}]: each "
        f"of the {n} predictions meets every target, whatever image it belongs to",
        "give both the same shape: targets.unsqueeze(1), or outputs.squeeze(1)",
    )
