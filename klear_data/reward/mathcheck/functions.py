"""What each node of a formula tree evaluates to, at mpmath's current precision and in bounded time."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from typing import Any

from klear_data.reward.mathcheck.exact import rational
from klear_data.reward.mathcheck.precision import context
from klear_data.reward.mathcheck.tree import Node

_MAX_EXPONENT = 10**9
_MAX_ANGLE_BITS = 200

_NAMED = {
    "arcsin": "asin", "arccos": "acos", "arctan": "atan", "arccot": "acot", "arcsinh": "asinh",
    "arccosh": "acosh", "arctanh": "atanh", "sgn": "sign",
}  # fmt: skip


class Undefined(ArithmeticError):
    """No value at this point (division by zero, out of range)."""


class TooBig(ArithmeticError):
    """A value too large to evaluate safely here."""


def apply(node: Node, values: list[Any], log_base: int) -> Any:
    """The value of one node from the values of its parts.

    Raises:
        ZeroDivisionError, ValueError, OverflowError: undefined there.
        TooBig: not evaluated, because it would not end in bounded time.
    """
    mp = context()
    kind = node[0]
    if kind == "num":
        return mp.mpf(node[1].numerator) / node[1].denominator
    if kind == "const":
        return _constant(node[1])
    if kind == "add":
        return values[0] + values[1]
    if kind == "mul":
        return values[0] * values[1]
    if kind == "div":
        return values[0] / values[1]
    if kind == "neg":
        return -values[0]
    if kind == "deg":
        return values[0] * mp.pi / 180
    if kind == "pow":
        return _power(values[0], values[1], rational(node[2]))
    if kind == "root":
        order = rational(node[1])
        return _power(values[1], 1 / values[0], None if not order else 1 / order)
    if kind == "fn" and node[1] == "log":
        return _log(values[0]) / mp.log(log_base) if log_base else _log(values[0])
    if kind == "fn":
        return _function(node[1], values[0])
    if kind == "log":
        return _log(values[1]) / _log(values[0])
    if kind == "call":
        return _opaque(node[1], values)
    return _combinatorial(kind, values)


def _constant(name: str) -> Any:
    mp = context()
    if name == "pi":
        return +mp.pi
    if name == "e":
        return +mp.e
    if name == "i":
        return mp.mpc(0, 1)
    raise ValueError(name)


def _power(base: Any, exponent: Any, exact: Fraction | None) -> Any:
    """``base**exponent``; real roots of odd order of negative numbers are real, as answers mean them."""
    mp = context()
    if abs(exponent) > _MAX_EXPONENT:
        raise TooBig("exponent")
    if base == 0:
        if mp.re(exponent) <= 0 and exponent != 0:
            raise ZeroDivisionError
        return mp.mpf(1) if exponent == 0 else mp.mpf(0)
    if exact is not None:
        if exact.denominator == 1:
            return base ** int(exact)
        if isinstance(base, mp.mpf) and base < 0 and exact.denominator % 2:
            size = abs(base) ** exponent
            return -size if exact.numerator % 2 else size
    elif not isinstance(exponent, mp.mpc) and exponent == int(exponent):
        return base ** int(exponent)
    return base**exponent


def _log(value: Any) -> Any:
    mp = context()
    if value == 0:
        raise ZeroDivisionError
    return mp.log(value)


def _function(name: str, value: Any) -> Any:
    mp = context()
    if value != 0 and mp.mag(value) > _MAX_ANGLE_BITS:
        raise TooBig("argument")
    if name == "exp":
        if abs(value) > _MAX_EXPONENT:
            raise TooBig("exponent")
        return mp.exp(value)
    if name == "ln":
        return _log(value)
    if name in ("tan", "sec") and abs(mp.cos(value)) < mp.mpf(10) ** (-mp.dps // 2):
        raise ZeroDivisionError
    if name in ("cot", "csc") and abs(mp.sin(value)) < mp.mpf(10) ** (-mp.dps // 2):
        raise ZeroDivisionError
    return getattr(mp, _NAMED.get(name, name))(value)


def _combinatorial(kind: str, values: list[Any]) -> Any:
    mp = context()
    if any(abs(value) > 10**6 for value in values) and kind in ("fact", "fact2", "binom"):
        raise TooBig("factorial")
    if kind == "fact":
        return mp.factorial(values[0])
    if kind == "fact2":
        return mp.fac2(values[0])
    if kind == "binom":
        n, k = values
        return mp.gamma(n + 1) * mp.rgamma(k + 1) * mp.rgamma(n - k + 1)
    if kind == "abs":
        return abs(values[0])
    if isinstance(values[0], mp.mpc):
        raise ValueError(kind)
    nearest = mp.nint(values[0])
    if abs(values[0] - nearest) < mp.mpf(10) ** (-mp.dps // 2):
        return nearest
    return mp.floor(values[0]) if kind == "floor" else mp.ceil(values[0])


def _opaque(name: str, values: list[Any]) -> Any:
    """A function nobody defined, such as f(x): any fixed function will do, if it is nothing special."""
    mp = context()
    digest = hashlib.sha256(name.encode()).digest()
    total = mp.mpf(digest[0]) / 97 + 1
    for index, value in enumerate(values):
        if value != 0 and mp.mag(value) > _MAX_ANGLE_BITS:
            raise TooBig("argument")
        weight = mp.mpf(digest[index % 16 + 1] + 41) / 193
        total += weight * mp.sin(value * (weight + 1) + index + 1) + value / (7 + index)
    return total
