"""The graph that autograd recorded, from the loss back to the parameters."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor

SQUASHING = ("Sigmoid", "Softmax", "LogSoftmax", "LogSigmoid", "BinaryCrossEntropyWithLogits")
SHAPING = {
    "View", "UnsafeView", "Squeeze", "Unsqueeze", "Reshape", "ReshapeAlias", "T", "Transpose", "Slice", "Select",
    "Index", "ToCopy", "Clone", "Alias", "Permute", "Expand",
}  # fmt: skip
BY_HAND = ("Reciprocal", "Pow"), ("Add",), ("Exp",), ("Neg",)  # 1 / (1 + torch.exp(-x)), from the end
MOST_NODES = 20_000


def name(node: Any) -> str:
    """A node's name without its ending: ``Softmax`` for ``SoftmaxBackward0``."""
    return str(node.name()).partition("Backward")[0].removeprefix("torch::autograd::")


def leaves(losses: Iterable[Tensor], pairs: list[str]) -> tuple[list[Tensor], set[Any]]:
    """(the parameters that ``backward`` of these losses, [] each, will reach, the nodes on the way to them).

    pairs: gains "A after B" for each squashing function A whose input is what another, B, computed
    """
    nodes = [loss.grad_fn for loss in losses if loss.grad_fn is not None]
    seen: set[Any] = set(nodes)
    found: list[Tensor] = []
    while nodes and len(seen) < MOST_NODES:
        node: Any = nodes.pop()
        if hasattr(node, "variable"):
            found.append(node.variable)
        kind, start = _squashing(node)
        if kind and (before := _result_of(start)):
            pair = f"{kind} after {before}"
            if pair not in pairs:
                pairs.append(pair)
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                nodes.append(following)
    return found, seen


def _squashing(node: Any) -> tuple[str, Any]:
    """(name, the node of its input) of a squashing function, also of a sigmoid by hand; ("", None) of another."""
    if name(node) in SQUASHING:
        return name(node), _input(node)
    inner = _input(node) if name(node) == "Mul" else node
    for kinds in BY_HAND:
        if inner is None or name(inner) not in kinds:
            return "", None
        inner = _input(inner)
    return "Sigmoid", inner


def _input(node: Any) -> Any:
    """The node of what a function was applied to first; None where that needs no gradient."""
    return node.next_functions[0][0] if node.next_functions else None


def _result_of(node: Any) -> str:
    """What computed a value: a squashing function or Relu, "" for another. Views of the value are looked through."""
    for _ in range(20):
        if node is None or name(node) not in SHAPING:
            break
        node = _input(node)
    if node is None:
        return ""
    return _squashing(node)[0] or (name(node) if name(node) in ("Relu", "ClampMin", "Tanh") else "")
