"""Formulas beyond the small grammar (sums, integrals, limits, products …): latex2sympy reads, sympy decides.

Only ever called inside a limited worker: nothing here is bounded in time or memory by itself.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from typing import Any

from klear_data.reward.mathcheck.extract import closing_brace

_DECIMAL = re.compile(r"(?<![\d.])(\d*)\.(\d+)(?![\d.])")
_DIGITS = 120
_POINTS = ("7/5", "-13/9", "29/11", "3/17", "41/6")


def exact_decimals(text: str) -> str:
    """Decimals as fractions, so that no binary rounding can make two numbers meet."""
    return _DECIMAL.sub(lambda m: _fraction(Fraction(m.group())), text)


def braced(text: str) -> str:
    """``\\frac12`` and ``\\sqrt3`` with braces around the arguments, which latex2sympy needs."""
    out = re.sub(r"\\sqrt\s*(\d+)", r"\\sqrt{\1}", text)
    out = re.sub(r"\\frac\s*(\d)", r"\\frac{\1}", out)
    at = 0
    while (at := out.find("\\frac{", at)) >= 0:
        at += 5
        end = closing_brace(out, at)
        if end is None:
            break
        rest = out[end + 1 :].lstrip()
        if rest[:1].isalnum():
            out = f"{out[: end + 1]}{{{rest[0]}}}{rest[1:]}"
    return out


def _fraction(value: Fraction) -> str:
    return f"{{\\frac{{{value.numerator}}}{{{value.denominator}}}}}"


@lru_cache(maxsize=256)
def parse(text: str) -> Any:
    """The sympy object that latex2sympy makes of a normalised formula, ``None`` if it makes none."""
    from latex2sympy2_extended import latex2sympy
    from latex2sympy2_extended.latex2sympy2 import ConversionConfig

    config = ConversionConfig(lowercase_symbols=False)
    try:
        return latex2sympy(
            exact_decimals(braced(text)).replace("°", "^\\circ "),
            is_real=not re.search(r"(?<![A-Za-z\\])i(?![A-Za-z])", text),
            convert_degrees=True,
            normalization_config=None,
            conversion_config=config,
        )
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - the parser raises bare Exception for what it cannot read
        return None


def readable(text: str) -> bool:
    """Whether sympy can hold the formula at all."""
    return parse(text) is not None


def equal(gold: str, answer: str) -> bool | None:
    """Whether sympy finds two formulas equal; ``None`` where it cannot read one of them."""
    import sympy

    left, right = parse(gold), parse(answer)
    if left is None or right is None:
        return None
    if type(left) is bool or type(right) is bool:
        return None
    if left == right:
        return True
    if not isinstance(left, sympy.Expr) or not isinstance(right, sympy.Expr):
        return False
    left, right = left.doit(), right.doit()
    if left == right:
        return True
    if not left.is_finite and left.is_finite is not None:
        return False
    gap = left - right
    if not gap.free_symbols:
        return _constant_zero(gap, left)
    if not _zero_at_points(gap):
        return False
    return bool(sympy.simplify(gap) == 0)


def _constant_zero(gap: Any, scale: Any) -> bool:
    """Exactly zero, or shrinking with the precision as a true zero does."""
    import sympy

    if gap.is_Rational or gap.is_zero:
        return bool(gap.is_zero)
    if gap.has(sympy.nan, sympy.zoo, sympy.oo):
        return False
    low, high = (abs(sympy.N(gap, n, maxn=4 * n, chop=False)) for n in (_DIGITS, _DIGITS + 60))
    size = abs(sympy.N(scale, 30)) + sympy.Integer(10) ** -60
    if not low.is_number or not high.is_number or not (low < size * sympy.Integer(10) ** (20 - _DIGITS)):
        return False
    return bool(high <= low)


def _zero_at_points(gap: Any) -> bool:
    """A cheap refutation before ``simplify``: the difference is not zero somewhere."""
    import sympy

    symbols = sorted(gap.free_symbols, key=str)
    if gap.has(sympy.Sum, sympy.Product, sympy.Integral, sympy.Limit):
        return True
    for shift in range(3):
        point = {s: sympy.Rational(_POINTS[(i + shift) % len(_POINTS)]) for i, s in enumerate(symbols)}
        value = sympy.N(gap.subs(point), 40)
        if value.is_number and value.is_finite and abs(value) > sympy.Integer(10) ** -25:
            return False
    return True
