"""Does the gradient reach every parameter?"""

from underhood.diagnosis import Finding, fine, found, suspicious
from underhood.diagnosis.case import Case
from underhood.diagnosis.trace import ParameterSeen, Trace

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
    if not trace.steps:
        return None
    own = [one for one in trace.parameters.values() if one.parameter.requires_grad and (one.in_model or one.reached)]
    cut = [one for one in own if not one.reached and one.used]
    unused = [one for one in own if not one.reached and not one.used]
    zero = [one for one in own if one.reached and one.gradient == 0]
    if cut:
        return found(f"{_numbers(cut, own)}: they are used, and the loss does not depend on them", FIX)
    if zero and len(zero) == len(own):
        return found(f"the gradient is exactly 0 for all {len(own)} parameters, in all of {_steps(trace)}", FIX)
    if zero:
        return suspicious(
            f"the gradient of {_names(zero)} is exactly 0 in all of {_steps(trace)}",
            "units that are always 0 pass no gradient on: see dead-units",
        )
    if unused:
        return suspicious(
            f"{_numbers(unused, own)}: their modules are never called", "use them in forward(), or remove them"
        )
    smallest = min((one.gradient for one in own), default=0.0)
    return fine(f"it reaches all {len(own)} parameters; the smallest of their largest gradients is {smallest:.2g}")


def _steps(trace: Trace) -> str:
    return f"{min(len(trace.steps), 60)} steps"


def _names(some: list[ParameterSeen]) -> str:
    return ", ".join(one.name for one in some[:3]) + (f" and {len(some) - 3} more" if len(some) > 3 else "")


def _numbers(some: list[ParameterSeen], own: list[ParameterSeen]) -> str:
    share = sum(one.size for one in some) / sum(one.size for one in own)
    return f"no gradient reaches {_names(some)} ({share:.0%} of the numbers that could be trained)"
