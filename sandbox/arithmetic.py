"""Products, powers and sums that do not grow without bounds, for `sandbox.pure`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import Any

from sandbox.bounds import CostError

_MOST_ITEMS = 1_000_000
_MOST_BITS = 100_000


def product(left: Any, right: Any) -> Any:
    """``left * right``.

    Raises:
        CostError: a sequence of more than a million items, a number of more than 400,000 bits.
    """
    for one, other in ((left, right), (right, left)):
        if isinstance(one, str | bytes | list | tuple) and isinstance(other, int):
            if len(one) * max(other, 0) > _MOST_ITEMS:
                raise CostError("a long repetition")
            return one * other
    if _bits(left) + _bits(right) > 4 * _MOST_BITS:
        raise CostError("a large product")
    return left * right


def power(left: Any, right: Any) -> Any:
    """``left ** right``.

    Raises:
        CostError: a result of more than 100,000 bits.
    """
    if isinstance(right, int | Fraction):
        exponent: Any = abs(right)
        if _bits(left) * exponent > _MOST_BITS:
            raise CostError("a large power")
    return left**right


def total(values: Iterable[Any], start: Any = 0, *, tick: Callable[[], None]) -> Any:
    """``sum(values, start)``; lists and fractions, which grow, are added one by one.

    Args:
        tick: called before each of those additions; may raise to stop.

    Raises:
        CostError: a fraction of more than 100,000 bits.
    """
    values = list(values)
    if isinstance(start, str | bytes) or all(isinstance(value, int | float | complex) for value in values):
        return sum(values, start)
    for value in values:
        tick()
        start = start + value
        if _bits(start) > _MOST_BITS:
            raise CostError("a large sum")
    return start


def _bits(number: Any) -> int:
    """Size of an exact number; 0 for those that do not grow."""
    if isinstance(number, Fraction):
        return number.numerator.bit_length() + number.denominator.bit_length()
    return number.bit_length() if isinstance(number, int) else 0
