"""Does the gradient reach every parameter?"""

from underhood.diagnosis import Finding, fine, found, suspicious
from underhood.diagnosis.case import Case
from underhood.diagnosis.measure import names, share
from underhood.diagnosis.trace import Trace

SUSPICION = "the gradient of the loss does not reach all parameters"
SECONDS, AFTER = 0.0, ("nan", "wrong-loss")
FIX = "look for .detach(), .data, .item(), torch.no_grad() or a new torch.tensor(…) between this layer and the loss"


def examine(case: Case) -> Finding | None:
    """Follow autograd's graph from the loss, and look at the gradient of each parameter."""
    trace = case.trace
    if trace is None:
        return None
    if "does not require grad" in trace.error:
        return found(f"the loss does not depend on any parameter: {trace.error}", FIX)
    return _of_parameters(trace) if trace.steps else None


def _of_parameters(trace: Trace) -> Finding:
    own = [one for one in trace.parameters.values() if one.parameter.requires_grad and (one.in_model or one.reached)]
    cut = [one for one in own if not one.reached and one.used]
    unused = [one for one in own if not one.reached and not one.used]
    zero = [one for one in own if one.reached and one.gradient == 0]
    if cut:
        return found(
            f"no gradient reaches {names(cut)} ({share(cut, own):.0%} of the numbers that could be trained): they are "
            "used, and the loss does not depend on them",
            FIX,
        )
    if zero and len(zero) == len(own):
        return found(f"the gradient is exactly 0 for all {len(own)} parameters, in all of {_steps(trace)}", FIX)
    if zero:
        return suspicious(
            f"the gradient of {names(zero)} is exactly 0 in all of {_steps(trace)}",
            "units that are always 0 pass no gradient on: see dead-units",
        )
    if unused:
        return suspicious(
            f"no gradient reaches {names(unused)} ({share(unused, own):.0%} of the numbers): their modules are never "
            "called",
            "use them in forward(), or remove them",
        )
    smallest = min((one.gradient for one in own), default=0.0)
    return fine(f"it reaches all {len(own)} parameters; the smallest of their largest gradients is {smallest:.2g}")


def _steps(trace: Trace) -> str:
    return f"{min(len(trace.steps), 60)} steps"
