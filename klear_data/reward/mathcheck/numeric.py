"""Are two formulas the same number, or the same function? Decided by evaluation at growing precision.

Two constants are the same when their difference keeps shrinking with the working precision and
different when it stays. So 1/2004! and 1/2006! differ, and sqrt(3+2 sqrt 2) is 1+sqrt 2; no tolerance
is involved that a rounded decimal could pass. Functions are compared at fixed points (positive and
negative, below and above one) wherever both are defined over the reals.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from klear_data.reward.mathcheck.exact import rational
from klear_data.reward.mathcheck.functions import TooBig, Undefined, apply
from klear_data.reward.mathcheck.precision import context, working_digits
from klear_data.reward.mathcheck.tree import Node, children, count, symbols, uses

FAST_NODES = 300
FAST_COSTLY = 40
_COSTLY = frozenset({"fn", "log", "fact", "fact2", "binom", "call", "pow", "root"})
_MAX_DIGITS = 4_000
_FIRST_DIGITS = 30
_MAX_SYMBOLS = 12
# Signs and sizes of the points: inside and outside the unit interval, both signs, then mixed.
_REGIONS = ((1, 0.2, 0.9), (1, 1.2, 3.4), (-1, 0.2, 0.9), (-1, 1.2, 3.4), (0, 0.3, 2.5), (1, 4.0, 9.0), (0, 0.2, 0.9))
_WHOLE_NAMES = frozenset("nkmNMjlpq")


def same(a: Node, b: Node, *, thorough: bool = False, log_base: int = 0) -> bool | None:
    """Like :func:`judge`, with ``None`` also for what is too big to evaluate."""
    try:
        return judge(a, b, thorough=thorough, log_base=log_base)
    except TooBig:
        return None


def judge(a: Node, b: Node, *, thorough: bool = False, log_base: int = 0) -> bool | None:
    """Whether two trees are the same number or function; ``None`` where this cannot be told here.

    Args:
        thorough: no limit on the size of the trees (used inside a limited worker).
        log_base: base of a ``log`` without one: 0 for e.

    Raises:
        TooBig: a number such as 9^(9^(9^9)) that nothing can evaluate in bounded time.
    """
    if a == b:
        return True
    exact_a, exact_b = rational(a), rational(b)
    if exact_a is not None and exact_b is not None:
        return exact_a == exact_b
    if uses(a, "inf") or uses(b, "inf"):
        return False
    if not thorough and _weight(a) + _weight(b) > 1:
        return None
    names = sorted(symbols(a) | symbols(b))
    if len(names) > _MAX_SYMBOLS:
        return None
    try:
        return _same_function(a, b, names, log_base) if names else _agree(a, b, {}, log_base)
    except Undefined:
        return False


def has_value(node: Node) -> bool:
    """Whether a tree has a value somewhere: not 1/0. What is too big to evaluate has one."""
    if rational(node) is not None or uses(node, "inf"):
        return True
    names = sorted(symbols(node))
    for index in range(len(_REGIONS)):
        try:
            evaluate(node, {name: _coordinate(name, index) for name in names})
        except TooBig:
            return True
        except Undefined:
            continue
        return True
    return False


def _weight(node: Node) -> float:
    return max(count(node) / FAST_NODES, count(node, _COSTLY) / FAST_COSTLY) / 2


def _same_function(a: Node, b: Node, names: list[str], log_base: int) -> bool | None:
    """Compare over the reals; over the complex numbers where one of them never is real."""
    imaginary = uses(a, "i") or uses(b, "i")
    for complex_too in (True,) if imaginary else (False, True):
        agreed = 0
        for index in range(len(_REGIONS)):
            point = {name: _coordinate(name, index) for name in names}
            try:
                if not _agree(a, b, point, log_base, complex_too=complex_too):
                    return _same_on_whole_numbers(a, b, names, log_base)
                agreed += 1
            except Undefined:
                continue
        if agreed >= 2:
            return True
    return _same_on_whole_numbers(a, b, names, log_base) if _whole(a, b, names) else None


def _whole(a: Node, b: Node, names: list[str]) -> bool:
    """Whether the symbols are indices: named like one, in a factorial, a floor, cos(n pi) or (-1)^n."""
    return all(n[0] in _WHOLE_NAMES for n in names) and any(
        uses(x, "fact", "fact2", "floor", "ceil", "binom", "cos", "sin") or _alternates(x) for x in (a, b)
    )


def _alternates(node: Node) -> bool:
    if node[0] == "pow":
        base = rational(node[1])
        if base is not None and base < 0:
            return True
    return any(_alternates(child) for child in children(node))


def _same_on_whole_numbers(a: Node, b: Node, names: list[str], log_base: int) -> bool:
    if not _whole(a, b, names):
        return False
    agreed = 0
    for index in range(1, 13):
        point = {name: float(index + 3 * offset) for offset, name in enumerate(reversed(names))}
        try:
            if not _agree(a, b, point, log_base):
                return False
            agreed += 1
        except Undefined:
            continue
    return agreed >= 6


def _coordinate(name: str, index: int) -> float:
    """A fixed value for a symbol at the index-th point, in the region's range."""
    sign, low, high = _REGIONS[index]
    digest = hashlib.sha256(f"{name}/{index}".encode()).digest()
    share = int.from_bytes(digest[:6], "big") / 2**48
    value = low + (high - low) * share
    return value * (sign or (1 if digest[6] & 1 else -1))


def _agree(a: Node, b: Node, point: Mapping[str, float], log_base: int, *, complex_too: bool = True) -> bool:
    """Whether a − b is zero at a point: it is when it shrinks as the precision grows.

    Raises:
        Undefined: one of them has no value there (no real one on the way, if only those count).
    """
    gap, reach = _difference(a, b, point, log_base, _FIRST_DIGITS)
    if reach.complex and not complex_too:
        raise Undefined("not real")
    with working_digits(_FIRST_DIGITS) as mp:
        if gap > mp.mpf(10) ** (reach.largest - 12):
            return False
    digits = 2 * max(reach.largest, -reach.smallest) + 80
    if digits > _MAX_DIGITS:
        raise TooBig("too many digits to tell apart")
    low, _ = _difference(a, b, point, log_base, digits)
    high, _ = _difference(a, b, point, log_base, digits + 60)
    with working_digits(_FIRST_DIGITS) as mp:
        noise = mp.mpf(10) ** (reach.largest - digits)
        return bool(high <= max(low, noise) * mp.mpf(10) ** -30)


@dataclass
class Reach:
    """Decimal exponents of the largest and the smallest number met in an evaluation (0 at least)."""

    largest: int = 0
    smallest: int = 0
    complex: bool = False


def _difference(a: Node, b: Node, point: Mapping[str, float], log_base: int, digits: int) -> tuple[Any, Reach]:
    """|a − b| at a precision, and how far from one the numbers on the way were."""
    with working_digits(digits):
        reach = Reach()
        left = evaluate(a, point, log_base, reach)
        right = evaluate(b, point, log_base, reach)
        return abs(left - right), reach


def evaluate(node: Node, point: Mapping[str, float], log_base: int = 0, reach: Reach | None = None) -> Any:
    """The value of a tree at a point, at mpmath's current precision.

    Raises:
        Undefined: no finite value.
        TooBig: a power or factorial beyond what can be evaluated in bounded time.
    """
    mp = context()
    kind = node[0]
    if kind == "sym":
        return mp.mpf(point[node[1]])
    values = [evaluate(part, point, log_base, reach) for part in children(node)]
    try:
        result = apply(node, values, log_base)
    except (ZeroDivisionError, OverflowError, ValueError) as error:
        raise Undefined(str(error)) from error
    if not mp.isfinite(result):
        raise Undefined("not finite")
    if reach is not None and result != 0:
        reach.complex = reach.complex or isinstance(result, mp.mpc)
        exponent = int(mp.mag(result) * 0.30103)
        reach.largest = max(reach.largest, exponent + 1)
        reach.smallest = min(reach.smallest, exponent - 1)
    return result
