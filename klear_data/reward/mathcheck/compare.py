"""Whether two shapes are the same answer: True, False, or None where only sympy may know."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from klear_data.reward.mathcheck.normalise import compact
from klear_data.reward.mathcheck.numerals import Clock, Numeral, decimal_comma, same_time
from klear_data.reward.mathcheck.numeric import same
from klear_data.reward.mathcheck.realset import real_set, same_set
from klear_data.reward.mathcheck.relation import (
    assignments,
    base_name,
    equivalent,
    flipped,
    is_equation,
    named_value,
    same_name,
)
from klear_data.reward.mathcheck.shape import Combined, Formula, Group, Matrix, NamedSet, Ratio, Relation, Shape, Words
from klear_data.reward.mathcheck.structure import shape_of
from klear_data.reward.mathcheck.values import Deep, all_of, same_ratio, same_value


def equal(gold: Shape, answer: Shape, deep: Deep | None = None) -> bool | None:
    """Compare two shapes.

    Args:
        deep: decides two formulas that the small grammar cannot (sympy, in a limited worker); without
            it the result is ``None`` where it would be needed.
    """
    if gold == answer and not isinstance(gold, Formula):
        return True
    if isinstance(gold, Formula) and isinstance(answer, Formula):
        return same_value(gold, answer, deep)
    if isinstance(gold, Matrix) or isinstance(answer, Matrix):
        return _matrices(gold, answer, deep)
    if isinstance(gold, (Clock, Ratio)) or isinstance(answer, (Clock, Ratio)):
        return _clocks_and_ratios(gold, answer, deep)
    if isinstance(gold, Numeral) or isinstance(answer, Numeral):
        return _numerals(gold, answer)
    if _says_set(gold) or _says_set(answer):
        verdict = _sets(gold, answer)
        if verdict is not None:
            return verdict
    if isinstance(gold, Relation) and isinstance(answer, Relation):
        return _relations(gold, answer, deep)
    if isinstance(gold, Relation) or isinstance(answer, Relation):
        return _relation_and_value(gold, answer, deep)
    if isinstance(gold, Group) or isinstance(answer, Group):
        return _groups(gold, answer, deep)
    if isinstance(gold, Combined) and isinstance(answer, Combined) and gold.operators == answer.operators:
        return _matched(gold.parts, answer.parts, deep)
    if isinstance(gold, Words) and isinstance(answer, Words):
        return gold.text == answer.text
    return False


def _in_order(gold: Sequence[Shape], answer: Sequence[Shape], deep: Deep | None) -> bool | None:
    if len(gold) != len(answer):
        return False
    verdicts = []
    for g, a in zip(gold, answer, strict=True):
        verdicts.append(equal(g, a, deep))
        if verdicts[-1] is False:
            return False
    return all_of(verdicts)


def _matched(gold: Sequence[Shape], answer: Sequence[Shape], deep: Deep | None) -> bool | None:
    """Every item of one list has its own equal item in the other (equality is transitive: first fit works)."""
    if len(gold) != len(answer):
        return False
    left = list(answer)
    unsure = False
    for item in gold:
        verdicts = []
        for candidate in left:
            verdicts.append(equal(item, candidate, deep))
            if verdicts[-1]:
                break
        if verdicts and verdicts[-1]:
            left.pop(len(verdicts) - 1)
        elif None in verdicts:
            unsure = True
        else:
            return False
    return None if unsure else True


def _numerals(gold: Shape, answer: Shape) -> bool:
    if isinstance(gold, Numeral) and isinstance(answer, Numeral):
        return gold == answer
    if isinstance(gold, Numeral) and isinstance(answer, Formula):
        return answer.text.strip() == gold.digits
    if isinstance(answer, Numeral) and isinstance(gold, Formula):
        return answer.base == 10 and gold.text.strip() == answer.digits
    if isinstance(answer, Relation) and isinstance(gold, Numeral):
        return bool(_relation_and_value(gold, answer, None))
    return False


def _clocks_and_ratios(gold: Shape, answer: Shape, deep: Deep | None) -> bool | None:
    if isinstance(gold, Clock) and isinstance(answer, Clock):
        return same_time(gold, answer)
    if isinstance(gold, Relation) or isinstance(answer, Relation):
        return _relation_and_value(gold, answer, deep)
    if isinstance(gold, Clock) and not gold.half and isinstance(answer, (Ratio, Clock)):
        return False
    if isinstance(gold, Ratio) and isinstance(answer, (Clock, Formula, Ratio)):
        return same_ratio(gold, answer)
    if isinstance(answer, Ratio) and isinstance(gold, Formula):
        return same_ratio(answer, gold)
    if isinstance(answer, Clock) and isinstance(gold, Formula) and not answer.half and answer.minute:
        return same(("num", Fraction(answer.hour, answer.minute)), gold.node) if gold.node else False
    if isinstance(gold, Clock) and isinstance(answer, Formula) and not gold.half and gold.minute:
        return same(("num", Fraction(gold.hour, gold.minute)), answer.node) if answer.node else False
    return False


# --- collections ----------------------------------------------------------------------------------


def _matrices(gold: Shape, answer: Shape, deep: Deep | None) -> bool | None:
    rows = [_rows(gold), _rows(answer)]
    if rows[0] is None or rows[1] is None:
        if isinstance(gold, Relation) or isinstance(answer, Relation):
            return _relation_and_value(gold, answer, deep)
        return False
    vectors = [_vector(r) for r in rows]
    if not (isinstance(gold, Matrix) and isinstance(answer, Matrix)) and all(v is not None for v in vectors):
        return _in_order(vectors[0] or (), vectors[1] or (), deep)
    if len(rows[0]) != len(rows[1]):
        return False
    return all_of([_in_order(g, a, deep) for g, a in zip(rows[0], rows[1], strict=True)])


def _rows(shape: Shape) -> tuple[tuple[Shape, ...], ...] | None:
    """Rows of a matrix; ``[[1,2],[3,4]]`` and a tuple (a column) count as matrices too."""
    if isinstance(shape, Matrix):
        return shape.rows
    if isinstance(shape, Group) and shape.ordered:
        inner = [item for item in shape.items if isinstance(item, Group) and item.opening == "["]
        if len(inner) == len(shape.items):
            return tuple(item.items for item in inner)
        return tuple((item,) for item in shape.items)
    return None


def _vector(rows: tuple[tuple[Shape, ...], ...] | None) -> tuple[Shape, ...] | None:
    if rows is None:
        return None
    if len(rows) == 1:
        return rows[0]
    return tuple(row[0] for row in rows) if all(len(row) == 1 for row in rows) else None


def _groups(gold: Shape, answer: Shape, deep: Deep | None) -> bool | None:
    if not isinstance(gold, Group) or not isinstance(answer, Group):
        group, other = (gold, answer) if isinstance(gold, Group) else (answer, gold)
        assert isinstance(group, Group)
        if group.opening == "{" and len(group.items) == 1 and not isinstance(group.items[0], NamedSet):
            return equal(group.items[0], other, deep)
        if not group.opening and isinstance(gold, Formula) and group is answer:
            return _comma_number(gold, answer)
        return _comma_number(answer, gold) if isinstance(answer, Formula) and not group.opening else False
    if gold.ordered and answer.ordered:
        pair = len(gold.items) == 2
        if pair and (gold.opening.replace("<", "("), gold.closing.replace(">", ")")) != (
            answer.opening.replace("<", "("), answer.closing.replace(">", ")")
        ):  # fmt: skip
            return False
        return _in_order(gold.items, answer.items, deep)
    if not gold.ordered and not answer.ordered:
        return _lists(gold, answer, deep)
    if gold.opening == "{" or answer.opening == "{":
        return False
    if gold.ordered:
        named = assignments(answer)
        return (
            _in_order(gold.items, [v for _, v in named], deep)
            if named and (len(gold.items) > 2 or all(n for n, _ in named)) and gold.opening == "("
            else False
        )
    if answer.opening == "[" and len(answer.items) == 2:
        return False
    named = assignments(gold)
    return _in_order([v for _, v in named] if named else gold.items, answer.items, deep)


def _comma_number(formula: Shape, group: Shape) -> bool:
    """``1.22`` and ``1,22``: a list of two whole numbers that may be one with a decimal comma."""
    if not isinstance(formula, Formula) or not isinstance(group, Group) or len(group.items) != 2:
        return False
    parts = [item.text if isinstance(item, Formula) else "" for item in group.items]
    value = decimal_comma(",".join(parts))
    return value is not None and formula.node == ("num", value) and value.denominator != 1


def _lists(gold: Group, answer: Group, deep: Deep | None) -> bool | None:
    left, right = assignments(gold), assignments(answer)
    if left is None or right is None:
        return _matched(gold.items, answer.items, deep)
    names = [[n for n, _ in pairs if n is not None] for pairs in (left, right)]
    values = [[v for _, v in pairs] for pairs in (left, right)]
    several = [len({compact(n) for n in ns}) > 1 for ns in names]
    one_base = [len({base_name(n) for n in ns}) <= 1 for ns in names]
    if several[0] and several[1] and not (one_base[0] and one_base[1]):
        return _by_name(left, right, deep)
    if (several[0] and not one_base[0]) or (several[1] and not one_base[1]):
        return _in_order(values[0], values[1], deep)
    if gold.opening == answer.opening == "{":
        values = [list(dict.fromkeys(v)) for v in values]
    verdict = _matched(values[0], values[1], deep)
    if verdict is False and all(isinstance(v, Group) for vs in values for v in vs):
        return _matched(list(dict.fromkeys(values[0])), list(dict.fromkeys(values[1])), deep)
    return verdict


def _by_name(
    gold: list[tuple[str | None, Shape]], answer: list[tuple[str | None, Shape]], deep: Deep | None
) -> bool | None:
    if len(gold) != len(answer):
        return False
    by_name = {compact(name or ""): value for name, value in answer}
    verdicts = []
    for name, value in gold:
        other = by_name.get(compact(name or ""))
        if other is None:
            return False
        verdicts.append(equal(value, other, deep))
    return all_of(verdicts)


# --- sets and relations ---------------------------------------------------------------------------


def _says_set(shape: Shape) -> bool:
    if isinstance(shape, (Combined, NamedSet)):
        return True
    if isinstance(shape, Relation):
        return not is_equation(shape)
    if isinstance(shape, Group):
        mixed = (shape.opening, shape.closing) in (("[", ")"), ("(", "]"))
        return mixed or (not shape.opening and any(_says_set(item) for item in shape.items))
    return False


def _sets(gold: Shape, answer: Shape) -> bool | None:
    """Compare as sets of reals; a bare pair or list is no interval."""
    if any(isinstance(s, Group) and not s.opening and not _says_set(s) for s in (gold, answer)):
        return None
    left, right = real_set(gold), real_set(answer)
    return None if left is None or right is None else same_set(left, right)


def _relations(gold: Relation, answer: Relation, deep: Deep | None) -> bool | None:
    if is_equation(gold) and is_equation(answer):
        one, two = named_value(gold), named_value(answer)
        if one and two and one[0] and two[0]:
            if same_name(one[0], two[0]):
                return equal(one[1], two[1], deep)
        elif one and two and not one[0] and not two[0]:
            return equal(one[1], two[1], deep)
    for candidate in (answer, flipped(answer)):
        if gold.operators == candidate.operators:
            sides = [_side(g, a, deep) for g, a in zip(gold.sides, candidate.sides, strict=True)]
            if all(sides):
                return True
    if len(gold.sides) == 2 and len(answer.sides) == 2:
        return equivalent(gold, answer)
    return False


def _side(gold: str, answer: str, deep: Deep | None) -> bool | None:
    if compact(gold) == compact(answer):
        return True
    left, right = shape_of(gold), shape_of(answer)
    return False if isinstance(left, Relation) or isinstance(right, Relation) else equal(left, right, deep)


def _relation_and_value(gold: Shape, answer: Shape, deep: Deep | None) -> bool | None:
    """``x = 5`` and 5: the name is only a label. An equation that is not "name = value" is no value."""
    relation, other, on_left = (gold, answer, True) if isinstance(gold, Relation) else (answer, gold, False)
    assert isinstance(relation, Relation)
    if isinstance(other, Group) and not other.opening and (pairs := assignments(relation)) and len(pairs) > 1:
        named = assignments(other)
        if named and all(name for name, _ in named):
            return _by_name(pairs, named, deep)
    if isinstance(other, Group) and not other.opening and (pairs := assignments(other)) and pairs[0][0]:
        other_values = Group("", tuple(v for _, v in pairs), "")
        other = other_values
    stated = named_value(relation)
    if stated is None:
        return False
    if isinstance(stated[1], Relation):
        return False
    return equal(stated[1], other, deep) if on_left else equal(other, stated[1], deep)
