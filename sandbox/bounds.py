"""What values chosen by a hostile program may cost whoever reads, hashes or compares them.

A few bytes can stand for much work: "1e400000000" for a number of as many digits, keys that share a hash for
a dict that is built in quadratic time, ``[],`` twenty times its size in lists. Each is bounded before the work.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

MAX_NODES = 2_000_000
MAX_KEYS = 10_000
_MAX_DIGITS = 10_000
_MAX_EXACT_NUMBERS = 20_000

# The closing quote is optional, so that every match succeeds and none is tried twice.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_RATIO = re.compile(r"-?\d+(?:/\d+)?", re.ASCII)
_FEW_HASHES = (str, bytes, bool, type(None))  # texts hash by a secret seed; of the others there are three
_SMALL = 1 << 20


class CostError(ValueError):
    """A value that would cost more than it may."""


def check_nodes(encoded: bytes) -> None:
    """Refuse JSON text of more than ``MAX_NODES`` values, before it is decoded.

    Raises:
        CostError: there are more.
    """
    if _nodes(encoded) > MAX_NODES and _nodes(_STRING.sub(b"", encoded)) > MAX_NODES:
        raise CostError("too many values")


def _nodes(encoded: bytes) -> int:
    return sum(map(encoded.count, (b",", b"[", b"{")))


class Budget:
    """What one answer may spend on exact numbers and on hash tables.

    Keys that share a hash, or whose probes meet, make a table of n keys cost n² comparisons. Numbers can be
    chosen so, and whatever holds numbers; text cannot, and integers within ±2^20 are too few to.
    """

    def __init__(self) -> None:
        self._comparisons = MAX_KEYS**2
        self._exact_numbers = _MAX_EXACT_NUMBERS

    def hash_all(self, keys: Iterable[Any]) -> None:
        """Pay for a table of these keys, in the worst case.

        Raises:
            CostError: the budget is spent.
        """
        self._comparisons -= sum(map(_weight, keys)) ** 2
        if self._comparisons < 0:
            raise CostError("too many keys that could share a hash")

    def exact_number(self, kind: str, text: str) -> Any:
        """The ``Fraction`` or ``Decimal`` of its text, of at most 10,000 digits written out.

        Raises:
            CostError: too large, too many, or not a number.
        """
        from decimal import Decimal, InvalidOperation
        from fractions import Fraction

        self._exact_numbers -= 1
        if len(text) > _MAX_DIGITS or self._exact_numbers < 0:
            raise CostError("exact numbers too large or too many to be compared")
        if kind == "Fraction" and not _RATIO.fullmatch(text):
            raise CostError("not a fraction")
        try:
            number = Fraction(text) if kind == "Fraction" else Decimal(text)
        except (InvalidOperation, ZeroDivisionError) as error:
            raise CostError("not a number") from error
        if isinstance(number, Decimal) and abs(number.adjusted()) > _MAX_DIGITS:
            raise CostError("a number too large to be compared")
        return number


def _weight(key: Any, inside: bool = False) -> int:
    """How much a key counts: 1 for what is compared in a few nanoseconds."""
    if isinstance(key, _FEW_HASHES):
        return 0
    if type(key) is int and not inside:
        return 0 if -_SMALL <= key <= _SMALL else 1
    parts = getattr(key, "values", key)  # `Linked` and `Tree` hash as their values do
    if isinstance(parts, tuple | frozenset):
        return 1 + sum(_weight(part, inside=True) for part in parts)
    return 1 if isinstance(key, int | float | complex) else 8
