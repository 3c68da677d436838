"""The order of the checks for one (gold, answer) pair."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from klear_data.reward.mathcheck.compare import equal
from klear_data.reward.mathcheck.extract import boxed_answer
from klear_data.reward.mathcheck.functions import TooBig
from klear_data.reward.mathcheck.normalise import compact, normalise
from klear_data.reward.mathcheck.numerals import plain_number
from klear_data.reward.mathcheck.numeric import has_value
from klear_data.reward.mathcheck.relation import is_name
from klear_data.reward.mathcheck.shape import Combined, Formula, Group, Matrix, Ratio, Relation, Shape
from klear_data.reward.mathcheck.split import balanced, nesting
from klear_data.reward.mathcheck.structure import shape_of
from klear_data.reward.mathcheck.values import Deep
from klear_data.reward.mathcheck.words import Choice, choice, several_choices

MAX_ANSWER_CHARS = 10_000
MAX_NESTING = 100


@dataclass(frozen=True)
class Decision:
    """Whether the answer is the gold one, and which check said so (``limit``: it was not to be told)."""

    equal: bool
    stage: str
    reason: str | None = None


@lru_cache(maxsize=65536)
def gold_forms(gold: str) -> tuple[str, ...]:
    """The accepted forms of a gold: a JSON list of strings is one, anything else is its own only form.

    >>> gold_forms('["1/2", "0.5"]')
    ('1/2', '0.5')
    >>> gold_forms("[1,2]")
    ('[1,2]',)
    """
    text = gold.strip()
    if text.startswith('["') and text.endswith('"]'):
        try:
            forms = json.loads(text)
        except ValueError:
            return (gold,)
        if forms and all(isinstance(form, str) for form in forms):
            return tuple(forms)
    return (gold,)


_ANNOUNCEMENT = re.compile(
    r"^\s*(?:\\text\{\s*)?(?:the\s+)?(?:final\s+)?answer(?:\s+is|\s*:)\s*:?\s*(?:\}|(?=[^{}]*$|\$))", re.IGNORECASE
)


@lru_cache(maxsize=65536)
def prepared(text: str) -> str:
    """A gold or an answer in the one spelling; boxes inside it are opened first."""
    text = _ANNOUNCEMENT.sub("", text)
    for _ in range(4):
        inner = boxed_answer(text) if "\\boxed" in text or "\\fbox" in text else None
        if inner is None:
            break
        text = inner
    return normalise(text)


def decide(gold: str, answer: str, deep: Deep | None = None) -> Decision | None:
    """Compare one accepted form with an answer.

    Args:
        gold: one form (see ``gold_forms``).
        answer: what stood in the box.
        deep: compares two formulas with sympy; only given inside a limited worker.

    Returns:
        ``None`` where only ``deep`` can tell.
    """
    if len(answer) > MAX_ANSWER_CHARS:
        return Decision(answer.strip() == gold.strip(), "length", f"answer longer than {MAX_ANSWER_CHARS} characters")
    if nesting(answer) > MAX_NESTING:
        return Decision(False, "limit", f"brackets nested deeper than {MAX_NESTING}")
    left, right = prepared(gold), prepared(answer)
    if not right:
        return Decision(False, "string", "empty answer")
    if left == right or compact(left) == compact(right):
        return Decision(True, "string")
    number, other = plain_number(left), plain_number(right)
    if number is not None and other is not None:
        return Decision(number == other, "number")
    lettered = _choices(left, right, deep)
    if lettered is not None:
        return lettered
    try:
        verdict = equal(shape_of(left), shape_of(right), deep)
    except TooBig as limit:
        return Decision(False, "limit", f"not evaluated: {limit}")
    if verdict is not True and (split := _as_list(left, right)) is not None:
        verdict = True if split else verdict
    if verdict is None:
        return None
    values = isinstance(shape_of(left), Formula) and isinstance(shape_of(right), Formula)
    return Decision(verdict, "value" if values else "structure")


def _choices(gold: str, answer: str, deep: Deep | None) -> Decision | None:
    """Multiple choice by letter, by content or by both; a lower-case gold letter is a variable."""
    left, right = choice(gold), choice(answer)
    if left is not None and left.letter.isupper():
        if right is not None:
            same_letter = left.letter == right.letter.upper()
            if same_letter and left.content and right.content:
                return decide(left.content, right.content, deep)
            return Decision(same_letter, "choice")
        if left.content:
            return decide(left.content, answer, deep)
    elif left is None and isinstance(right, Choice) and right.content and not several_choices(gold):
        inner = decide(gold, right.content, deep)
        if inner is None or inner.equal:
            return inner
    several, given = several_choices(gold), several_choices(answer)
    if several and given and (len(several) == 2 or not (gold.isalpha() and answer.isalpha())):
        return Decision(several == given, "choice")
    return None


def _as_list(gold: str, answer: str) -> bool | None:
    """``1,234`` read as two items, tried only where the other side plainly is a list."""
    sides = [shape_of(gold), shape_of(answer)]
    for i, text in enumerate((gold, answer)):
        if plain_number(text) is not None and "," in text and isinstance(sides[1 - i], Group):
            items = tuple(shape_of(part) for part in text.split(","))
            sides[i] = Group("", items, "")
            return equal(sides[0], sides[1])
    return None


def gold_fault(gold: str, sympy_reads: Callable[[str], bool] | None = None) -> str | None:
    """Why a form of a gold cannot be verified against, ``None`` where it can.

    Raises:
        NeedsSympy: only sympy knows, and ``sympy_reads`` is not given.
    """
    if len(gold) > MAX_ANSWER_CHARS:
        return f"longer than {MAX_ANSWER_CHARS} characters"
    if nesting(gold) > MAX_NESTING:
        return f"brackets nested deeper than {MAX_NESTING}"
    text = prepared(gold)
    if not text:
        return "empty"
    if not balanced(text):
        return "braces do not pair up"
    if choice(text) or several_choices(text):
        return None
    formulas = list(_formulas(shape_of(text)))
    for formula in formulas:
        if formula.node is None and not _held_as_text(formula.text):
            if sympy_reads is None:
                raise NeedsSympy
            if not sympy_reads(formula.text):
                return f"cannot read {formula.text[:60]!r}"
        if formula.node is not None and not has_value(formula.node):
            return f"{formula.text[:60]!r} has no value"
    return None


class NeedsSympy(Exception):
    """Whether a formula can be read is for sympy to say."""


_PLACEHOLDER = re.compile(r"(?:\d+\.\d+)?\s*\\ldots|[A-Za-z∠△]+")


def _held_as_text(text: str) -> bool:
    """Parts of an answer that are compared by their spelling, such as the dots in ``1, 2, ..., n``."""
    return bool(_PLACEHOLDER.fullmatch(text.strip()))


def _formulas(shape: Shape) -> Iterator[Formula]:
    if isinstance(shape, Formula):
        yield shape
    elif isinstance(shape, Group):
        for item in shape.items:
            yield from _formulas(item)
    elif isinstance(shape, (Combined, Ratio)):
        for part in shape.parts:
            yield from _formulas(part)
    elif isinstance(shape, Matrix):
        for row in shape.rows:
            for cell in row:
                yield from _formulas(cell)
    elif isinstance(shape, Relation):
        for side in shape.sides:
            if not is_name(side):
                yield from _formulas(shape_of(side))
