"""The exercises of chapter 4's questionnaire that are answered by code."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor


def odd_doubled(numbers: Iterable[int]) -> list[int]:
    """Question 4: the odd ones, doubled, by a list comprehension. [1, 2, 3] to [2, 6]."""
    return [2 * number for number in numbers if number % 2 == 1]


def doubled_corner() -> Tensor:
    """Question 9: 1 to 9 as a 3 × 3 tensor, doubled, its bottom right four: [[10, 12], [16, 18]]."""
    return (torch.arange(1, 10).reshape(3, 3) * 2)[1:, 1:]


def pairs(a: Sequence[Any], b: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Question 26: [1, 2] and 'ab' to [(1, 'a'), (2, 'b')]: tuples of input and target, a ``Dataset``."""
    return list(zip(a, b, strict=True))


def relu(x: Tensor) -> Tensor:
    """Question 34: negative numbers become 0, others stay, in any shape. −2 … 2 gives 0 0 0 1 2."""
    return x.clamp(min=0)
