"""Sets of real numbers: intervals, unions, inequalities in one variable, compared point by point.

A set is a small tree over intervals; two sets are equal when they contain the same end points and the
same gaps between the end points of both.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from klear_data.reward.mathcheck.functions import TooBig, Undefined
from klear_data.reward.mathcheck.numeric import evaluate, same
from klear_data.reward.mathcheck.precision import working_digits
from klear_data.reward.mathcheck.relation import is_name, named_value, sign, substitute, tree
from klear_data.reward.mathcheck.shape import Combined, Formula, Group, NamedSet, Relation, Shape
from klear_data.reward.mathcheck.structure import shape_of
from klear_data.reward.mathcheck.tree import Node, percent, symbols, uses

_INFINITY = ("const", "inf")


@dataclass(frozen=True)
class Interval:
    """Ends as formula trees, ``None`` for infinite."""

    low: Node | None
    low_closed: bool
    high: Node | None
    high_closed: bool


@dataclass(frozen=True)
class SetTree:
    """``kind`` is atom, any (union), all (intersection) or not (complement)."""

    kind: str
    interval: Interval | None = None
    parts: tuple[SetTree, ...] = ()


@dataclass(frozen=True)
class NamedTree:
    """A set and the variable it was written for, if any."""

    tree: SetTree
    name: str | None = None


class NoSet(ValueError):
    """Not a set of reals that can be compared this way."""


def real_set(shape: Shape) -> NamedTree | None:
    """The set of reals that an answer describes, ``None`` if it is none (or has symbolic ends)."""
    try:
        return _build(shape)
    except NoSet:
        return None


def same_set(a: NamedTree, b: NamedTree) -> bool | None:
    """Whether two sets are equal; relations in differently named variables are not."""
    if a.name and b.name and a.name != b.name and not {a.name, b.name} <= {"y", "f(x)", "y(x)"}:
        return False
    try:
        points = _ordered([*_ends(a.tree), *_ends(b.tree)])
    except NoSet:
        return None
    cells = range(2 * len(points) + 1)
    return all(_contains(a.tree, cell, points) == _contains(b.tree, cell, points) for cell in cells)


def _any(*parts: SetTree) -> SetTree:
    return SetTree("any", None, parts)


def _all(*parts: SetTree) -> SetTree:
    return SetTree("all", None, parts)


def _atom(low: Node | None, low_closed: bool, high: Node | None, high_closed: bool) -> SetTree:
    return SetTree("atom", Interval(low, low_closed, high, high_closed))


def _build(shape: Shape) -> NamedTree:
    if isinstance(shape, NamedSet):
        return NamedTree(_all() if shape.name == "reals" else _any())
    if isinstance(shape, Combined):
        return _combined(shape)
    if isinstance(shape, Relation):
        return _relation(shape)
    if isinstance(shape, Group):
        return _group(shape)
    raise NoSet


def _group(group: Group) -> NamedTree:
    if group.opening == "{":
        return NamedTree(_any(*(_atom(n, True, n, True) for n in map(_end, group.items))))
    if group.opening in ("(", "[") and len(group.items) == 2:
        low, high = (_end(item) for item in group.items)
        low_infinite, high_infinite = uses(low, "inf"), uses(high, "inf")
        if not low_infinite and not high_infinite and sign(("add", high, ("neg", low))) == -1:
            raise NoSet("an interval from right to left")
        low_closed = group.opening == "[" and not low_infinite
        high_closed = group.closing == "]" and not high_infinite
        return NamedTree(_atom(None if low_infinite else low, low_closed, None if high_infinite else high, high_closed))
    if group.opening:
        raise NoSet
    parts = [_build(item) for item in group.items]
    names = {p.name for p in parts if p.name}
    if len(names) > 1:
        raise NoSet
    name = next(iter(names), None)
    inequalities = all(isinstance(item, Relation) for item in group.items)
    trees = [p.tree for p in parts]
    together = _all(*trees) if inequalities and group.joined_by != "or" else _any(*trees)
    return NamedTree(together, name)


def _combined(combined: Combined) -> NamedTree:
    parts = [_build(part) for part in combined.parts]
    tree_ = parts[0].tree
    name = parts[0].name
    for operator, part in zip(combined.operators, parts[1:], strict=True):
        if operator == "setminus":
            tree_ = _all(tree_, SetTree("not", None, (part.tree,)))
        else:
            tree_ = _any(tree_, part.tree) if operator == "cup" else _all(tree_, part.tree)
    return NamedTree(tree_, name)


def _end(shape: Shape) -> Node:
    if not isinstance(shape, Formula) or shape.node is None or symbols(shape.node):
        raise NoSet
    node = shape.node
    if shape.percent:
        node = percent(node)
    return ("deg", node) if shape.degree else node


def _relation(relation: Relation) -> NamedTree:
    if relation.operators[0] in ("in", "notin") and len(relation.sides) == 2 and is_name(relation.sides[0]):
        inner = _build(shape_of(relation.sides[1])).tree
        return NamedTree(inner if relation.operators[0] == "in" else SetTree("not", None, (inner,)), relation.sides[0])
    pairs = list(zip(relation.sides, relation.operators, relation.sides[1:], strict=False))
    if all(op == "=" for op in relation.operators):
        value = named_value(relation)
        if value is None or value[0] is None:
            raise NoSet
        node = _end(value[1])
        return NamedTree(_atom(node, True, node, True), value[0])
    solved = [_solve(*pair) for pair in pairs]
    names = {s.name for s in solved}
    if len(names) != 1:
        raise NoSet
    return NamedTree(_all(*(s.tree for s in solved)), names.pop())


_HALVES = {"<": (False, False), "le": (False, True), ">": (True, False), "ge": (True, True)}


def _solve(left: str, operator: str, right: str) -> NamedTree:
    """The solutions of ``left operator right`` where one side names the variable or it occurs linearly."""
    if operator not in ("<", "le", ">", "ge", "ne", "="):
        raise NoSet
    if is_name(right) and not is_name(left):
        flip = {"<": ">", ">": "<", "le": "ge", "ge": "le"}
        return _solve(right, flip.get(operator, operator), left)
    rhs = tree(right)
    if is_name(left) and rhs is not None and not symbols(rhs):
        lhs = tree(left)
        if lhs is not None and lhs[0] == "abs" and lhs[1][0] == "sym":
            return NamedTree(_absolute(rhs, operator), str(lhs[1][1]))
        return NamedTree(_half(rhs, operator), left)
    lhs = tree(left)
    if lhs is None or rhs is None:
        raise NoSet
    gap: Node = ("add", lhs, ("neg", rhs))
    names = symbols(gap)
    if len(names) != 1:
        raise NoSet
    name = next(iter(names))
    zero, one, two, five = (substitute(gap, {name: Fraction(v)}) for v in (0, 1, 2, 5))
    slope: Node = ("add", one, ("neg", zero))
    line = ("add", zero, ("mul", slope, ("num", Fraction(5))))
    if same(("add", two, ("neg", one)), slope) is not True or same(line, five) is not True:
        raise NoSet
    direction = sign(slope)
    if not direction:
        raise NoSet
    if direction < 0:
        operator = {"<": ">", ">": "<", "le": "ge", "ge": "le"}.get(operator, operator)
    return NamedTree(_half(("neg", ("div", zero, slope)), operator), name)


def _half(bound: Node, operator: str) -> SetTree:
    if uses(bound, "inf"):
        return _all()
    point = _atom(bound, True, bound, True)
    if operator == "=":
        return point
    if operator == "ne":
        return SetTree("not", None, (point,))
    above, closed = _HALVES[operator]
    return _atom(bound, closed, None, False) if above else _atom(None, False, bound, closed)


def _absolute(bound: Node, operator: str) -> SetTree:
    below: Node = ("neg", bound)
    if operator in ("<", "le"):
        return _atom(below, operator == "le", bound, operator == "le")
    if operator in (">", "ge"):
        closed = operator == "ge"
        return _any(_atom(None, False, below, closed), _atom(bound, closed, None, False))
    points = _any(_atom(bound, True, bound, True), _atom(below, True, below, True))
    return SetTree("not", None, (points,)) if operator == "ne" else points


def _ends(set_tree: SetTree) -> list[Node]:
    found = [end for part in set_tree.parts for end in _ends(part)]
    if set_tree.interval:
        found += [e for e in (set_tree.interval.low, set_tree.interval.high) if e is not None]
    return found


def _ordered(ends: list[Node]) -> list[list[Node]]:
    """Distinct end points in ascending order, each with all the ways it was written."""
    if len(ends) > 200:
        raise NoSet
    valued: list[tuple[Any, Node]] = []
    with working_digits(40) as mp:
        for end in dict.fromkeys(ends):
            try:
                value = evaluate(end, {})
            except (Undefined, TooBig) as error:
                raise NoSet from error
            if isinstance(value, mp.mpc):
                raise NoSet
            valued.append((value, end))
        valued.sort(key=lambda pair: pair[0])
        points: list[list[Node]] = []
        for value, end in valued:
            if points:
                verdict = same(points[-1][0], end)
                if verdict is None:
                    raise NoSet
                if verdict:
                    points[-1].append(end)
                    continue
            points.append([end])
            del value
    return points


def _contains(set_tree: SetTree, cell: int, points: list[list[Node]]) -> bool:
    """Whether the set contains a cell: cell 2i+1 is the i-th point, even cells are the gaps around them."""
    if set_tree.kind == "not":
        return not _contains(set_tree.parts[0], cell, points)
    if set_tree.kind == "any":
        return any(_contains(part, cell, points) for part in set_tree.parts)
    if set_tree.kind == "all":
        return all(_contains(part, cell, points) for part in set_tree.parts)
    interval = set_tree.interval
    assert interval is not None
    low = -1 if interval.low is None else 2 * _index(interval.low, points) + 1
    high = 2 * len(points) + 1 if interval.high is None else 2 * _index(interval.high, points) + 1
    return (
        low < cell < high
        or (cell == low and interval.low_closed and low <= high)
        or (cell == high and interval.high_closed and low <= high)
    )


def _index(end: Node, points: list[list[Node]]) -> int:
    return next(i for i, written in enumerate(points) if end in written)
