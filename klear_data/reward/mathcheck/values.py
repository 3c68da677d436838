"""Whether two single values are equal: formulas with units, per cent signs and degrees, and ratios."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import TypeAlias

from klear_data.reward.mathcheck.exact import rational
from klear_data.reward.mathcheck.normalise import compact
from klear_data.reward.mathcheck.numerals import Clock
from klear_data.reward.mathcheck.numeric import judge, same
from klear_data.reward.mathcheck.shape import Formula, Ratio, Shape
from klear_data.reward.mathcheck.tree import Node, percent, uses
from klear_data.reward.mathcheck.units import Unit

Deep: TypeAlias = Callable[[str, str], bool | None]
"""Compares two formulas that the small grammar cannot read; ``None`` where it cannot either."""


def all_of(verdicts: Sequence[bool | None]) -> bool | None:
    """And, where ``None`` is "not known"."""
    if any(v is False for v in verdicts):
        return False
    return None if any(v is None for v in verdicts) else True


def any_of(verdicts: Sequence[bool | None]) -> bool | None:
    """Or, where ``None`` is "not known"."""
    if any(verdicts):
        return True
    return None if any(v is None for v in verdicts) else False


def same_value(gold: Formula, answer: Formula, deep: Deep | None) -> bool | None:
    """Whether two single values are equal: units, per cent and degrees first, then the formulas."""
    if gold == answer and (gold.node is None or gold.node[0] != "num"):
        return True
    factor = _unit_factor(gold.unit, answer.unit)
    if factor is None or (gold.unit and answer.percent) or (gold.percent and answer.unit):
        return False
    if gold.node is None or answer.node is None:
        if compact(gold.text) == compact(answer.text) and gold.percent == answer.percent:
            return True
        return _ask(gold, answer, deep)
    left = gold.node if factor == 1 else ("mul", gold.node, ("num", factor))
    if gold.degree != answer.degree:
        return _degrees(gold, answer)
    if gold.percent == answer.percent:
        return _value(left, answer.node, gold, answer, deep)
    if gold.percent:
        return any_of([same(left, answer.node), same(percent(left), answer.node)])
    if _below_one(left):
        return same(left, percent(answer.node))
    return any_of([same(left, answer.node), same(left, percent(answer.node))])


def _below_one(node: Node) -> bool:
    """A gold below one without a sign is a proportion: 0.05 is 5%, never 0.05%."""
    value = rational(node)
    return value is not None and abs(value) < 1


def _value(left: Node, right: Node, gold: Formula, answer: Formula, deep: Deep | None) -> bool | None:
    thorough = deep is not None
    verdict = judge(left, right, thorough=thorough)
    if uses(left, "log") or uses(right, "log"):
        decimal = same(left, right, thorough=thorough, log_base=10)
        natural_beside = uses(left, "ln") or uses(right, "ln")
        verdict = all_of([verdict, decimal]) if natural_beside else any_of([verdict, decimal])
    return verdict if verdict is not None else _ask(gold, answer, deep)


def _ask(gold: Formula, answer: Formula, deep: Deep | None) -> bool | None:
    if not _worth_asking(gold) or not _worth_asking(answer):
        return False
    return None if deep is None else deep(gold.text, answer.text)


_SYMPY_WORDS = (
    "\\sum", "\\int", "\\iint", "\\oint", "\\prod", "\\lim", "\\det", "\\gcd", "\\lcm", "\\max", "\\min", "\\begin",
    "\\partial", "\\bmod", "\\overline", "\\vec", "\\hat", "\\frac{d", "\\nabla", "\\cdot \\vec", "\\Re", "\\Im",
)  # fmt: skip


def _worth_asking(formula: Formula) -> bool:
    """A formula that was refused for what it says, not for what sympy reads and klear does not, is no value."""
    return formula.node is not None or any(word in formula.text for word in _SYMPY_WORDS)


def _unit_factor(gold: Unit | None, answer: Unit | None) -> Fraction | None:
    """The factor from the gold's unit to the answer's; None if they measure different things."""
    if gold is None or answer is None or gold.dimension is None or answer.dimension is None:
        return Fraction(1)
    if gold.dimension != answer.dimension:
        return None
    return gold.factor / answer.factor


def _degrees(gold: Formula, answer: Formula) -> bool | None:
    marked, bare = (gold, answer) if gold.degree else (answer, gold)
    assert marked.node is not None
    assert bare.node is not None
    if uses(bare.node, "pi", "arcsin", "arccos", "arctan") or (bare.unit and bare.unit.name.startswith("rad")):
        return same(("deg", marked.node), bare.node)
    return same(marked.node, bare.node)


def same_ratio(ratio: Ratio, other: Shape) -> bool | None:
    """Whether a ratio equals another one, a fraction, or what looked like a time."""
    first = _nodes(ratio.parts)
    if isinstance(other, Clock):
        second: list[Node] | None = [("num", Fraction(other.hour)), ("num", Fraction(other.minute))]
    elif isinstance(other, Ratio):
        second = _nodes(other.parts)
    else:
        node = other.node if isinstance(other, Formula) else None
        second = None if node is None or len(ratio.parts) != 2 else [node, ("num", Fraction(1))]
    if first is None or second is None or len(first) != len(second):
        return False
    pairs = zip(first[1:], second[1:], strict=True)
    return all_of([same(("mul", first[0], b), ("mul", a, second[0])) for a, b in pairs])


def _nodes(parts: Sequence[Shape]) -> list[Node] | None:
    nodes = [part.node for part in parts if isinstance(part, Formula) and part.node is not None]
    return nodes if len(nodes) == len(parts) else None
