"""Equations and inequalities: the value a chain of equalities states, and sameness up to a factor."""

from __future__ import annotations

import re
from fractions import Fraction

from klear_data.reward.mathcheck.cursor import NotReadable
from klear_data.reward.mathcheck.exact import rational
from klear_data.reward.mathcheck.expression import read
from klear_data.reward.mathcheck.functions import TooBig, Undefined
from klear_data.reward.mathcheck.normalise import compact
from klear_data.reward.mathcheck.numerals import joined_thousands, plain_number
from klear_data.reward.mathcheck.numeric import evaluate, same
from klear_data.reward.mathcheck.precision import working_digits
from klear_data.reward.mathcheck.shape import Formula, Group, Relation, Shape
from klear_data.reward.mathcheck.structure import shape_of
from klear_data.reward.mathcheck.tree import Node, percent, symbols

_NAME = re.compile(
    r"(?:\\(?!frac|sqrt|sum|int|prod|pi(?![A-Za-z])|infty|mathbb|lim|log|ln|binom)[A-Za-z]+|[A-Za-z|∠△])"
    r"(?:\\(?!frac|sqrt|sum|int|prod|cdot|times|pm)[A-Za-z]+|\\ |[A-Za-z0-9_{}'|:,() ])*"
)
_SEGMENTS = re.compile(r"\\frac\s*\{[A-Z]{2,}\}\s*\{[A-Z]{2,}\}|[A-Z]{2,}\s*[/:]\s*[A-Z]{2,}")
_FLIPPED = {"<": ">", ">": "<", "le": "ge", "ge": "le", "=": "=", "ne": "ne", "approx": "approx"}
_EQUALS = frozenset({"=", "approx", "equiv"})


def tree(text: str) -> Node | None:
    """The formula tree of one side of a relation, ``None`` where it is no plain formula."""
    shape = shape_of(text)
    if isinstance(shape, Formula) and shape.node is not None:
        node = shape.node
        if shape.percent:
            return percent(node)
        return ("deg", node) if shape.degree else node
    try:
        return read(joined_thousands(text))
    except (NotReadable, RecursionError):
        return None


def is_name(text: str) -> bool:
    """Whether a side only names the quantity: ``x``, ``a_n``, ``f(x)``, ``\\angle ABC``, ``|AB|``, ``(x, y)``."""
    text = re.sub(r"^([A-Za-z])\s*\^\s*\{-1\}\s*(?=\()", r"\1", text.strip())
    if _SEGMENTS.fullmatch(text):
        return True
    if plain_number(text) is not None or not _NAME.fullmatch(text.strip("()") if text.startswith("(") else text):
        return False
    if text in ("e", "i") or re.fullmatch(r"[A-Za-z]\s+[A-Za-z0-9].*", text):
        return False
    node = tree(text)
    if node is None:
        return True
    if node[0] == "call" or node[0] == "fn":
        return True
    if node[0] == "abs":
        return bool(is_name(text.strip("| ")))
    if node[0] == "mul":
        return bool(re.fullmatch(r"[A-Z]{2,4}|[A-Za-z]\([A-Za-z]\)", text.replace(" ", "")))
    return bool(node[0] == "sym")


def flipped(relation: Relation) -> Relation:
    """The same relation read from the right."""
    return Relation(tuple(reversed(relation.sides)), tuple(_FLIPPED.get(op, op) for op in reversed(relation.operators)))


def is_equation(relation: Relation) -> bool:
    """Whether every operator is an equality."""
    return all(op in _EQUALS for op in relation.operators)


def named_value(relation: Relation) -> tuple[str | None, Shape] | None:
    """The quantity's name, if one is given, and the value an equality states for it.

    ``x = 2+3 = 5`` is (x, 5) and ``2*3 = 6`` is (None, 6), but only if the steps are true: ``6 = 5``
    states nothing. ``x in {1, 2}`` is (x, {1, 2}).
    """
    sides, operators = list(relation.sides), list(relation.operators)
    if operators == ["in"] and is_name(sides[0]):
        return sides[0], shape_of(sides[1])
    if any(op not in _EQUALS for op in operators):
        return None
    names = []
    while len(sides) > 1 and is_name(sides[0]):
        names.append(sides.pop(0))
        operators.pop(0)
    if not names and len(sides) == 2 and is_name(sides[1]):
        names.append(sides.pop(1))
        operators.pop()
    name = names[-1] if names else None
    while len(sides) > 1 and operators and operators[-1] == "approx":
        sides.pop()
        operators.pop()
    if len(sides) == 1:
        return name, shape_of(sides[0])
    trees = [tree(side) for side in sides]
    first = trees[0]
    if first is None or any(t is None or not same(first, t) for t in trees[1:]):
        return None
    return name, shape_of(sides[-1])


def base_name(name: str) -> str:
    """The name without its index: x_1 and x_2 are both x."""
    return compact(re.sub(r"_\s*(?:\{[^{}]*\}|\w)|(?<=[a-z])\d$", "", name))


def same_name(a: str, b: str) -> bool:
    """Names of the same quantity; a function's value may be called y."""
    one, two = compact(a), compact(b)
    if one == two or one.strip("|") == two.strip("|"):
        return True
    return any(re.fullmatch(r"[fgh]\(\w\)", f) and other == "y" for f, other in ((one, two), (two, one)))


def assignments(shape: Shape) -> list[tuple[str | None, Shape]] | None:
    """A list of values with the names they are given; ``None`` if an item states no value.

    ``x=5, -5`` names both values x; ``(x,y)=(1,2)`` names two.
    """
    items = shape.items if isinstance(shape, Group) and not shape.ordered else (shape,)
    found: list[tuple[str | None, Shape]] = []
    for item in items:
        if isinstance(item, Relation):
            value = named_value(item)
            if value is None:
                return None
            found.append(value)
        else:
            found.append((found[-1][0] if found else None, item))
    if len(found) == 1 and found[0][0] and isinstance(found[0][1], Group):
        names = shape_of(found[0][0])
        values = found[0][1]
        if isinstance(names, Group) and len(names.items) == len(values.items) and values.opening == "(":
            return [
                (n.text if isinstance(n, Formula) else None, v) for n, v in zip(names.items, values.items, strict=True)
            ]
    return found


def substitute(node: Node, values: dict[str, Fraction]) -> Node:
    """The tree with numbers in place of symbols."""
    if node[0] == "sym" and node[1] in values:
        return ("num", values[node[1]])
    if node[0] == "call":
        return ("call", node[1], tuple(substitute(part, values) for part in node[2]))
    return tuple(substitute(part, values) if isinstance(part, tuple) else part for part in node)


def sign(node: Node) -> int | None:
    """Sign of a constant tree, ``None`` where it has no real value."""
    exact = rational(node)
    if exact is not None:
        return (exact > 0) - (exact < 0)
    try:
        with working_digits(40) as mp:
            value = evaluate(node, {})
            if isinstance(value, mp.mpc):
                return None
            return 0 if abs(value) < mp.mpf(10) ** -30 else (1 if value > 0 else -1)
    except (Undefined, TooBig, KeyError):
        return None


def proportion(a: Node, b: Node) -> int | None:
    """Sign of c where a = c·b with a constant c ≠ 0, ``None`` where there is none."""
    names = sorted(symbols(a))
    if not names or names != sorted(symbols(b)):
        return None
    for shift in (3, 11):
        point = {name: Fraction(7 * index + shift, 5) for index, name in enumerate(names, 1)}
        at_a, at_b = substitute(a, point), substitute(b, point)
        sign_a, sign_b = sign(at_a), sign(at_b)
        if sign_a and sign_b:
            return sign_a * sign_b if same(("mul", a, at_b), ("mul", b, at_a)) else None
    return None


def difference(relation: Relation) -> Node | None:
    """Left minus right of a relation with two sides."""
    if len(relation.sides) != 2:
        return None
    left, right = tree(relation.sides[0]), tree(relation.sides[1])
    return None if left is None or right is None else ("add", left, ("neg", right))


def equivalent(a: Relation, b: Relation) -> bool:
    """Whether two relations with two sides say the same up to moving terms and a constant factor."""
    left, right = difference(a), difference(b)
    if left is None or right is None:
        return False
    factor = proportion(left, right)
    if factor is None:
        return False
    first, second = a.operators[0], b.operators[0]
    if first in ("=", "ne"):
        return first == second
    return second == (first if factor > 0 else _FLIPPED.get(first, first))
