"""Read a single value: a formula, a number in words, an amount with its unit, per cent, degrees, or plain words."""

from __future__ import annotations

import re
from fractions import Fraction

from klear_data.reward.mathcheck.cursor import NotReadable
from klear_data.reward.mathcheck.expression import read
from klear_data.reward.mathcheck.numerals import joined_thousands, plain_number
from klear_data.reward.mathcheck.shape import Formula, Words
from klear_data.reward.mathcheck.units import compound_amount, split_currency, split_unit
from klear_data.reward.mathcheck.words import as_words, number_word

_APPROX_TAIL = re.compile(r"\\approx(?![A-Za-z]).*$", re.DOTALL)
_MAGNITUDES = {"thousand": 3, "million": 6, "billion": 9, "trillion": 12, "万": 4, "亿": 8}
_MAGNITUDE = re.compile(
    r"(?<=\d)\s*(?:\\text\{\s*)?(thousand|million|billion|trillion|[万亿])(?![A-Za-z])\s*(?:([^{}]*)\})?"
)
_MINUTES = re.compile(r"(-?\d+)°\s*(\d+)\s*'\s*(?:(\d+(?:\.\d+)?)\s*'')?")
_FUNCTION = re.compile(r"sin|cos|tan|cot|sec|csc|cis|[+*]|(?<=[\d)}°])-")


def _times_ten(match: re.Match[str]) -> str:
    rest = f"\\text{{ {match[2]}}}" if match[2] else ""
    return f"\\cdot 10^{{{_MAGNITUDES[match[1]]}}}{rest}"


def single_value(text: str) -> Formula | Words:
    """The value that a text without any outer structure states; a formula without a tree if it is unreadable."""
    text = _APPROX_TAIL.sub("", text).strip() or text
    body, money = split_currency(_MAGNITUDE.sub(_times_ten, text))
    amount = compound_amount(body)
    if amount is not None:
        return Formula(text, ("num", amount[0]), amount[1])
    body, unit = split_unit(body)
    unit = money or unit
    percent = body.endswith("%") or (unit is not None and unit.name in ("percent", "pct", "percentage", "per cent"))
    if percent:
        body, unit = body.removesuffix("%").strip(), None if unit and unit.name.startswith("p") else unit
    minutes = _MINUTES.fullmatch(body)
    if minutes:
        value = Fraction(minutes[1]) + Fraction(minutes[2]) / 60 + Fraction(minutes[3] or 0) / 3600
        return Formula(text, ("num", value), unit, degree=True)
    degree = body.endswith("°") and not _FUNCTION.search(body)
    if degree:
        body = body[:-1].strip()
    words = as_words(body)
    spelled = number_word(words)
    if spelled is not None:
        return Formula(text, ("num", spelled), unit)
    number = plain_number(body)
    if number is not None:
        return Formula(body, ("num", number), unit, percent, degree)
    if words and not percent:
        return Words(as_words(text) or words)
    try:
        return Formula(body, read(joined_thousands(body)), unit, percent, degree)
    except (NotReadable, RecursionError):
        return Formula(body, None, unit, percent, degree)
