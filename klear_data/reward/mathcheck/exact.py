"""Exact rational value of a formula tree, with a bound on the size of every intermediate number."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache

from klear_data.reward.mathcheck.tree import Node

MAX_BITS = 100_000
MAX_FACTORIAL = 5_000
MAX_WORK_BITS = 2_000_000


class NotRational(ValueError):
    """The tree has no rational value that can be had within the bounds."""


@lru_cache(maxsize=65536)
def rational(node: Node) -> Fraction | None:
    """The value of a tree as an exact fraction, ``None`` where it is not (cheaply) rational."""
    try:
        return _Exact().value(node)
    except (NotRational, ZeroDivisionError, RecursionError):
        return None


def _bits(value: Fraction) -> int:
    return max(value.numerator.bit_length(), value.denominator.bit_length())


class _Exact:
    def __init__(self) -> None:
        self.work = 0

    def value(self, node: Node) -> Fraction:
        result = self.compute(node)
        bits = _bits(result)
        self.work += bits
        if bits > MAX_BITS or self.work > MAX_WORK_BITS:
            raise NotRational("too large")
        return result

    def compute(self, node: Node) -> Fraction:
        kind = node[0]
        if kind == "num":
            return Fraction(node[1])
        if kind == "neg":
            return -self.value(node[1])
        if kind == "abs":
            return abs(self.value(node[1]))
        if kind == "floor":
            return Fraction(math.floor(self.value(node[1])))
        if kind == "ceil":
            return Fraction(math.ceil(self.value(node[1])))
        if kind in ("add", "mul", "div"):
            left, right = self.value(node[1]), self.value(node[2])
            return left + right if kind == "add" else left * right if kind == "mul" else left / right
        if kind == "pow":
            return self.power(self.value(node[1]), self.value(node[2]))
        if kind == "root":
            return self.power(self.value(node[2]), 1 / self.value(node[1]))
        if kind == "fact":
            return Fraction(math.factorial(self.whole(node[1], MAX_FACTORIAL)))
        if kind == "fact2":
            return Fraction(math.prod(range(self.whole(node[1], MAX_FACTORIAL), 1, -2)))
        if kind == "binom":
            return self.binomial(self.value(node[1]), self.value(node[2]))
        if kind == "log":
            return self.logarithm(self.value(node[1]), self.value(node[2]))
        raise NotRational(str(kind))

    def whole(self, node: Node, limit: int) -> int:
        value = self.value(node)
        if value.denominator != 1 or not 0 <= value <= limit:
            raise NotRational("no small whole number")
        return value.numerator

    def power(self, base: Fraction, exponent: Fraction) -> Fraction:
        if base == 1 or exponent == 0:
            return Fraction(1)
        if base == 0:
            if exponent < 0:
                raise ZeroDivisionError
            return base
        if exponent.denominator > 64:
            raise NotRational("root of high order")
        root = exponent.denominator
        if root > 1:
            base = Fraction(_exact_root(base.numerator, root), _exact_root(base.denominator, root))
        if abs(exponent.numerator) > MAX_BITS or (_bits(base) - 1) * abs(exponent.numerator) > MAX_BITS:
            raise NotRational("power too large")
        return base**exponent.numerator

    def binomial(self, n: Fraction, k: Fraction) -> Fraction:
        if n.denominator != 1 or k.denominator != 1 or not 0 <= n <= MAX_FACTORIAL or k < 0:
            raise NotRational("binomial out of range")
        return Fraction(math.comb(n.numerator, k.numerator))

    def logarithm(self, base: Fraction, value: Fraction) -> Fraction:
        """log_b v where v is a rational power of b with small exponents; nothing else is rational."""
        if base <= 0 or base == 1 or value <= 0 or _bits(base) > 1_000 or _bits(value) > 5_000:
            raise NotRational("logarithm")
        ratio = _log2(value) / _log2(base)
        guess = Fraction(ratio).limit_denominator(60)
        if abs(guess.numerator) > 4_000 or self.integer_power(base, guess) != self.integer_power(value, None, guess):
            raise NotRational("logarithm")
        return guess

    def integer_power(self, base: Fraction, up: Fraction | None, down: Fraction | None = None) -> Fraction:
        exponent = up.numerator if up is not None else down.denominator if down is not None else 1
        if _bits(base) * abs(exponent) > MAX_BITS:
            raise NotRational("power too large")
        return base**exponent


def _log2(value: Fraction) -> float:
    return math.log2(value.numerator) - math.log2(value.denominator)


def _exact_root(value: int, order: int) -> int:
    """The real root of a whole number if it is whole (odd roots of negative numbers are negative)."""
    if value < 0:
        if order % 2 == 0:
            raise NotRational("even root of a negative number")
        return -_exact_root(-value, order)
    if order == 2:
        root = math.isqrt(value)
    else:
        low, high = 0, 1 << (value.bit_length() // order + 1)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if middle**order <= value else (low, middle - 1)
        root = low
    if root**order != value:
        raise NotRational("no whole root")
    return root
