"""The graph that autograd recorded, from the loss back to the parameters."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor

SQUASHING = ("Sigmoid", "Softmax", "LogSoftmax", "LogSigmoid", "BinaryCrossEntropyWithLogits")
SHAPING = {
    "View", "UnsafeView", "Squeeze", "Unsqueeze", "Reshape", "ReshapeAlias", "T", "Transpose", "Slice", "Select",
    "Index", "ToCopy", "Clone", "Alias", "Permute", "Expand",
}  # fmt: skip
MOST_NODES = 20_000


def name(node: Any) -> str:
    """A node's name without its ending: ``Softmax`` for ``SoftmaxBackward0``."""
    return str(node.name()).partition("Backward")[0].removeprefix("torch::autograd::")


def leaves(losses: Iterable[Tensor], pairs: list[str]) -> tuple[list[Tensor], set[Any]]:
    """(the parameters that ``backward`` of these losses will reach, the nodes on the way to them).

    pairs: gains "A after B" for each squashing function A whose input is what another, B, computed
    """
    nodes = [loss.grad_fn for loss in losses if loss.grad_fn is not None]
    seen: set[Any] = set(nodes)
    found: list[Tensor] = []
    while nodes and len(seen) < MOST_NODES:
        node: Any = nodes.pop()
        if hasattr(node, "variable"):
            found.append(node.variable)
        if name(node).startswith(SQUASHING) and (before := _squashed(node)):
            pair = f"{name(node)} after {before}"
            if pair not in pairs:
                pairs.append(pair)
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                nodes.append(following)
    return found, seen


def _squashed(node: Any) -> str:
    """The squashing function or Relu that computed the input of a node, "" if another did; views are looked through."""
    for _ in range(20):
        if not node.next_functions or node.next_functions[0][0] is None:
            return ""
        node = node.next_functions[0][0]
        if name(node) not in SHAPING:
            break
    found = name(node)
    return found if found in (*SQUASHING, "Relu", "ClampMin", "Tanh") else ""
