"""What each node of a formula tree evaluates to, at mpmath's current precision and in bounded time."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from typing import Any

import mpmath

from klear_data.reward.mathcheck.exact import rational
from klear_data.reward.mathcheck.expression import Node

_MAX_EXPONENT = 10**9
_MAX_ANGLE_BITS = 200

_NAMED = {
    "sin": mpmath.sin, "cos": mpmath.cos, "tan": mpmath.tan, "cot": mpmath.cot, "sec": mpmath.sec,
    "csc": mpmath.csc, "arcsin": mpmath.asin, "arccos": mpmath.acos, "arctan": mpmath.atan,
    "arccot": mpmath.acot, "sinh": mpmath.sinh, "cosh": mpmath.cosh, "tanh": mpmath.tanh,
    "coth": mpmath.coth, "sech": mpmath.sech, "csch": mpmath.csch, "arcsinh": mpmath.asinh,
    "arccosh": mpmath.acosh, "arctanh": mpmath.atanh, "ln": mpmath.log, "sgn": mpmath.sign,
}  # fmt: skip


def apply(node: Node, values: list[Any], log_base: int) -> Any:
    """The value of one node from the values of its parts.

    Raises:
        ZeroDivisionError, ValueError, OverflowError: undefined there.
        TooBig: not evaluated, because it would not end in bounded time.
    """
    kind = node[0]
    if kind == "num":
        return mpmath.mpf(node[1].numerator) / node[1].denominator
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
        return values[0] * mpmath.pi / 180
    if kind == "pow":
        return _power(values[0], values[1], rational(node[2]))
    if kind == "root":
        order = rational(node[1])
        return _power(values[1], 1 / values[0], None if not order else 1 / order)
    if kind == "fn" and node[1] == "log":
        return _log(values[0]) / mpmath.log(log_base) if log_base else _log(values[0])
    if kind == "fn":
        return _function(node[1], values[0])
    if kind == "log":
        return _log(values[1]) / _log(values[0])
    if kind == "call":
        return _opaque(node[1], values)
    return _combinatorial(kind, values)


def _too_big(what: str) -> Exception:
    from klear_data.reward.mathcheck.numeric import TooBig

    return TooBig(what)


def _constant(name: str) -> Any:
    if name == "pi":
        return +mpmath.pi
    if name == "e":
        return +mpmath.e
    if name == "i":
        return mpmath.mpc(0, 1)
    raise ValueError(name)


def _power(base: Any, exponent: Any, exact: Fraction | None) -> Any:
    """``base**exponent``; real roots of odd order of negative numbers are real, as answers mean them."""
    if abs(exponent) > _MAX_EXPONENT:
        raise _too_big("exponent")
    if base == 0:
        if mpmath.re(exponent) <= 0 and exponent != 0:
            raise ZeroDivisionError
        return mpmath.mpf(1) if exponent == 0 else mpmath.mpf(0)
    if exact is not None:
        if exact.denominator == 1:
            return base ** int(exact)
        if isinstance(base, mpmath.mpf) and base < 0 and exact.denominator % 2:
            size = abs(base) ** exponent
            return -size if exact.numerator % 2 else size
    elif not isinstance(exponent, mpmath.mpc) and exponent == int(exponent):
        return base ** int(exponent)
    return base**exponent


def _log(value: Any) -> Any:
    if value == 0:
        raise ZeroDivisionError
    return mpmath.log(value)


def _function(name: str, value: Any) -> Any:
    if value != 0 and mpmath.mag(value) > _MAX_ANGLE_BITS:
        raise _too_big("argument")
    if name == "exp":
        if abs(value) > _MAX_EXPONENT:
            raise _too_big("exponent")
        return mpmath.exp(value)
    if name == "ln":
        return _log(value)
    if name in ("tan", "sec") and abs(mpmath.cos(value)) < mpmath.mpf(10) ** (-mpmath.mp.dps // 2):
        raise ZeroDivisionError
    if name in ("cot", "csc") and abs(mpmath.sin(value)) < mpmath.mpf(10) ** (-mpmath.mp.dps // 2):
        raise ZeroDivisionError
    return _NAMED[name](value)


def _combinatorial(kind: str, values: list[Any]) -> Any:
    if any(abs(value) > 10**6 for value in values) and kind in ("fact", "fact2", "binom"):
        raise _too_big("factorial")
    if kind == "fact":
        return mpmath.factorial(values[0])
    if kind == "fact2":
        return mpmath.fac2(values[0])
    if kind == "binom":
        n, k = values
        return mpmath.gamma(n + 1) * mpmath.rgamma(k + 1) * mpmath.rgamma(n - k + 1)
    if kind == "abs":
        return abs(values[0])
    if isinstance(values[0], mpmath.mpc):
        raise ValueError(kind)
    nearest = mpmath.nint(values[0])
    if abs(values[0] - nearest) < mpmath.mpf(10) ** (-mpmath.mp.dps // 2):
        return nearest
    return mpmath.floor(values[0]) if kind == "floor" else mpmath.ceil(values[0])


def _opaque(name: str, values: list[Any]) -> Any:
    """A function nobody defined, such as f(x): any fixed function will do, if it is nothing special."""
    digest = hashlib.sha256(name.encode()).digest()
    total = mpmath.mpf(digest[0]) / 97 + 1
    for index, value in enumerate(values):
        if value != 0 and mpmath.mag(value) > _MAX_ANGLE_BITS:
            raise _too_big("argument")
        weight = mpmath.mpf(digest[index % 16 + 1] + 41) / 193
        total += weight * mpmath.sin(value * (weight + 1) + index + 1) + value / (7 + index)
    return total
