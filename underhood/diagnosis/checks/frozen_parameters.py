"""Are parameters left out of the training?"""

from underhood.diagnosis import Finding, fine, found, suspicious
from underhood.diagnosis.case import Case
from underhood.diagnosis.measure import names, share

SUSPICION = "some parameters are frozen, or were not given to the optimizer"
SECONDS, AFTER = 0.0, ("no-step", "zero-grad", "no-gradient", "nan")


def examine(case: Case) -> Finding | None:
    """Compare the model's parameters with the optimizer's, and with those that have moved."""
    trace = case.trace
    if trace is None or len(trace.steps) < 2:
        return None
    own = [one for one in trace.parameters.values() if one.in_model or one.reached]
    frozen = [one for one in own if one.in_model and not one.parameter.requires_grad]
    still = [one for one in own if one.parameter.requires_grad and one.reached and one.gradient > 0 and not one.moved]
    if still and len(still) < len(own):
        left_out = trace.optimizer_steps and not any(one.in_optimizer for one in still)
        return found(
            f"{names(still)} ({share(still, own):.0%} of all numbers) get gradients and never move"
            + (": no optimizer has them" if left_out else ""),
            "torch.optim.SGD(model.parameters(), lr=…): all parameters, after the last layer is in place",
        )
    if frozen:
        return suspicious(
            f"{names(frozen)} have requires_grad=False: {share(frozen, own):.0%} of all numbers stay as they began",
            "for p in model.parameters(): p.requires_grad_(True), unless they come from another training on purpose",
        )
    return fine(f"all {len(own)} parameters, {sum(one.size for one in own):,} numbers, move")
