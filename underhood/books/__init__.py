"""The books' printed figures, each beside the code that computes it, and their comparison.

A book's figure is kept as the text that it prints, since its digits say how exactly it can be compared: ``0.5000``
claims four. The text is one number, a list of them separated by blanks, or lines of them.
"""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

EQUAL, IN_RANGE, DIFFERS = "equal", "in range", "differs"
MANY_DIGITS = 6  # a figure printed with more is compared to 1e-6 of its size: float32 holds about seven

_NUMBER = re.compile(r"-?\d+(\.\d*)?")


class Row(NamedTuple):
    """One printed number, list or table, as ``reproduce`` reports it."""

    source: str
    section: str
    what: str
    book: Any
    here: Any
    verdict: str


def figure(source: str, section: str, what: str, book: str, here: Any, rounding: float = 0.0) -> Row:
    """Compare a figure, which must agree in every printed digit.

    book: as printed; here: the computed value, a number, text, or anything that converts to as many numbers
    rounding: a difference up to this, from float32's rounding in another order of summation, is ``in range``
    """
    printed, ours = book.split(), _plain(here)
    flat, values = _flat(ours), [_value(cell) for cell in printed]
    if len(flat) != len(printed):
        verdict = DIFFERS
    elif all(map(_agree, printed, flat)):
        verdict = EQUAL
    else:
        verdict = _verdict(rounding > 0 and bool(np.allclose(flat, values, rtol=0, atol=rounding)), IN_RANGE)
    return Row(source, section, what, _like(ours, values), ours, verdict)


def ranged(source: str, section: str, what: str, book: str, low: Any, high: Any, widened: float = 0.0) -> Row:
    """Compare one or several figures, each of which must lie between ``low`` and ``high``, widened on both sides.

    The range, [low, high], is reported in place of a computed value.
    """
    values = [float(cell) for cell in book.split()]
    lows, highs = np.atleast_1d(low), np.atleast_1d(high)
    inside = bool(np.all((lows - widened <= values) & (values <= highs + widened)))
    printed = values if len(values) > 1 else values[0]
    return Row(source, section, what, printed, [_plain(low), _plain(high)], _verdict(inside, IN_RANGE))


def _verdict(agrees: bool, otherwise: str) -> str:
    return otherwise if agrees else DIFFERS


def _agree(printed: str, ours: Any) -> bool:
    if not _NUMBER.fullmatch(printed):  # a word
        return str(ours) == printed
    if "." not in printed:
        return isinstance(ours, int) and ours == int(printed)
    value = float(printed)
    if len(printed.strip("-").replace(".", "").lstrip("0")) > MANY_DIGITS:
        return abs(ours - value) <= 1e-6 * abs(value)
    decimals = len(printed.partition(".")[2])
    return float(f"{ours:.{decimals}f}") == value


def _value(cell: str) -> Any:
    if not _NUMBER.fullmatch(cell):
        return {"True": True, "False": False}.get(cell, cell)
    return float(cell) if "." in cell else int(cell)


def _plain(value: Any) -> Any:
    """Convert arrays, tensors, shapes and lists of them to nested lists of Python's own numbers."""
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value.tolist() if hasattr(value, "tolist") else value


def _flat(value: Any) -> list[Any]:
    return [cell for item in value for cell in _flat(item)] if isinstance(value, list) else [value]


def _like(shape: Any, flat: Sequence[Any]) -> Any:
    """The flat values, nested as in ``shape`` if the counts agree."""
    if len(_flat(shape)) != len(flat):
        return list(flat)
    remaining = iter(flat)

    def build(part: Any) -> Any:
        return [build(item) for item in part] if isinstance(part, list) else next(remaining)

    return build(shape)
