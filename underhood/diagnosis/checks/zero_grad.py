"""Are gradients set back to zero, and at the right place?"""

from underhood.diagnosis import Finding, fine, found, suspicious
from underhood.diagnosis.case import Case

SUSPICION = "gradients are not set back to zero after each step, or too early"
SECONDS, AFTER = 0.0, ()
OFTEN = 0.5  # of the steps


def examine(case: Case) -> Finding | None:
    """Look at the gradients at the moment when ``backward`` is about to add to them."""
    trace = case.trace
    if trace is None or len(trace.steps) < 3:
        return None
    looked_at = trace.steps[1:60]
    left = sum(step.left for step in looked_at)
    own = any(one.in_optimizer and one.reached for one in trace.parameters.values())
    own &= sum(step.gradient > 0 for step in trace.steps[:60]) >= OFTEN * len(trace.steps[:60])
    if own and trace.optimizer_steps >= 2 and trace.empty_steps >= OFTEN * min(trace.optimizer_steps, 60):
        return found(
            f"at {trace.empty_steps:,} of the first {min(trace.optimizer_steps, 60):,} steps of the optimizer all "
            "gradients were 0 or None, though backward had computed them: they were cleared too early",
            "in this order: optimizer.zero_grad(); loss.backward(); optimizer.step()",
        )
    if left >= OFTEN * len(looked_at):
        return found(
            f"at {left} of {len(looked_at)} calls of backward the gradients of an earlier step were still there, after "
            "the parameters had moved: each step goes by the sum of all gradients so far",
            "optimizer.zero_grad() in each step; by hand: p.grad = None after the parameters have moved",
        )
    if left > 2:
        return suspicious(
            f"at {left} of {len(looked_at)} calls of backward the gradients of an earlier step were still there",
            "optimizer.zero_grad() after each optimizer.step()",
        )
    return fine(f"no gradient was left from an earlier step at {len(looked_at) - left} of {len(looked_at)} steps")
