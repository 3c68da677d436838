"""Whether an output is right: text by lines and tokens, values by structure. Runs on the host only.

Known mistakes of the field that are avoided here: comparing sets of tokens ("3 2 1" for "1 2 3"), joining
lines ("123" for "1\\n2\\n3"), comparing integers as floats (5·10^16 equals 5·10^16 + 1 there), rounding
before comparing ("0.0004" for "0.0001"), truncating long outputs and calling equal prefixes equal, and
``==`` on objects that the solution has made.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from sandbox.plain import Linked, Opaque, Tree

#: Relative or absolute, whichever is larger; applies only where the expected token is a float.
DEFAULT_TOLERANCE = 1e-6
CHECKERS = ("tokens", "exact", "float", "unordered")

_FLOAT = re.compile(rb"[+-]?(\d+\.\d*|\.\d+)([eE][+-]?\d+)?|[+-]?\d+[eE][+-]?\d+")
_NUMBER = re.compile(rb"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,4})?")
_INTEGER = re.compile(rb"[+-]?\d+")
_LONGEST_NUMBER = 400


def text_checker(expected: bytes, kind: str = "tokens", *, tolerance: float | None = None) -> Callable[[bytes], bool]:
    """A predicate on what a program printed.

    Args:
        expected: the expected standard output.
        kind: ``tokens``: the same tokens in the same lines, trailing blanks, blank lines at the end and
            carriage returns aside; integers exactly, a tolerance where the expected token is a float.
            ``exact``: byte for byte, but for one final newline. ``float``: like ``tokens``, with the
            tolerance for integers too. ``unordered``: the same lines (by their tokens) in any order.
        tolerance: relative or absolute; default `DEFAULT_TOLERANCE`.

    Raises:
        ValueError: an unknown kind.
    """
    if kind not in CHECKERS:
        raise ValueError(f"checker {kind!r}: expected one of {', '.join(CHECKERS)}")
    if kind == "exact":
        return lambda printed: printed.removesuffix(b"\n") == expected.removesuffix(b"\n")
    allowed = DEFAULT_TOLERANCE if tolerance is None else tolerance
    if kind == "unordered":
        return lambda printed: _multiset(printed) == _multiset(expected)
    return lambda printed: _same_lines(printed, expected, allowed, any_number=kind == "float")


def _same_lines(printed: bytes, expected: bytes, tolerance: float, *, any_number: bool) -> bool:
    if printed == expected:
        return True
    got, want = _lines(printed), _lines(expected)
    if len(got) != len(want):
        return False
    for one, other in zip(got, want, strict=True):
        if one == other:
            continue
        left, right = one.split(), other.split()
        if len(left) != len(right):
            return False
        if not all(map(lambda a, b: a == b or _same_token(a, b, tolerance, any_number), left, right)):
            return False
    return True


def _lines(text: bytes) -> list[bytes]:
    """Lines without trailing blanks; those empty at the end are dropped."""
    lines = [line.rstrip() for line in text.split(b"\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _multiset(text: bytes) -> Counter[bytes]:
    return Counter(b" ".join(line.split()) for line in _lines(text))


def _same_token(got: bytes, want: bytes, tolerance: float, any_number: bool) -> bool:
    is_float = _FLOAT.fullmatch(want) or (any_number and _INTEGER.fullmatch(want))
    if not is_float or max(len(got), len(want)) > _LONGEST_NUMBER:
        return False
    if not _NUMBER.fullmatch(got) or not _NUMBER.fullmatch(want):  # exponents beyond what Decimal subtracts
        return False
    left, right = Decimal(got.decode()), Decimal(want.decode())
    return abs(left - right) <= Decimal(tolerance) * max(Decimal(1), abs(right))


def same_value(got: Any, want: Any, *, tolerance: float = DEFAULT_TOLERANCE) -> bool:
    """Whether a returned value is the expected one: by structure, ``True`` is not 1, a tuple is a list.

    Integers are compared exactly; a number is compared with a tolerance only where the expected one is a
    float. Keys that JSON made strings match the integers (floats, booleans, None) they stand for.
    """
    if type(want) is bool or type(got) is bool or want is None or got is None:
        return type(got) is type(want) and got == want
    if isinstance(want, int | float) and isinstance(got, int | float):
        return _same_number(got, want, tolerance)
    if isinstance(want, str | bytes):
        return type(got) is type(want) and got == want
    if isinstance(want, list | tuple):
        if isinstance(got, Linked | Tree):  # JSON gives LeetCode's lists and trees as arrays
            got = list(got.values)
        return (
            isinstance(got, list | tuple)
            and len(got) == len(want)
            and all(same_value(a, b, tolerance=tolerance) for a, b in zip(got, want, strict=True))
        )
    if isinstance(want, dict):
        return isinstance(got, dict) and _same_items(got, want, tolerance)
    if isinstance(want, Opaque) or isinstance(got, Opaque):
        return False
    if isinstance(want, Linked | Tree) and isinstance(got, Linked | Tree):
        return type(want) is type(got) and same_value(got.values, want.values, tolerance=tolerance)
    return type(got) is type(want) and bool(got == want)


def _same_number(got: float, want: float, tolerance: float) -> bool:
    if isinstance(want, int):
        return got == want if isinstance(got, int) else math.isfinite(got) and got == want
    if math.isnan(want) or math.isinf(want):
        return isinstance(got, float) and (got == want or (math.isnan(want) and math.isnan(got)))
    if isinstance(got, float) and not math.isfinite(got):
        return False
    try:
        return abs(got - want) <= tolerance * max(1.0, abs(want))
    except OverflowError:  # an integer beyond every float
        return False


def _same_items(got: dict[Any, Any], want: dict[Any, Any], tolerance: float) -> bool:
    if len(got) != len(want):
        return False
    by_text = {_json_key(key): value for key, value in got.items()}
    return len(by_text) == len(got) and all(
        _json_key(key) in by_text and same_value(by_text[_json_key(key)], value, tolerance=tolerance)
        for key, value in want.items()
    )


def _json_key(key: Any) -> Any:
    if key is None or isinstance(key, bool):
        return {None: "null", True: "true", False: "false"}[key]
    return str(key) if isinstance(key, int) and key.bit_length() < 10_000 else key
