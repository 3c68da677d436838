"""One value for each number, however it is spelled: 1,500 and "fifteen hundred", 25% and "a quarter"."""

from __future__ import annotations

import re
from fractions import Fraction

_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_DECADES = "twenty thirty forty fifty sixty seventy eighty ninety"
_UNITS = {word: value for value, word in enumerate(_ONES.split())}
_TENS = {word: 10 * ten for ten, word in enumerate(_DECADES.split(), start=2)}
_SCALES = {"dozen": 12, "hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9}
_PARTS = {"half": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8}
_PARTS |= {"ninth": 9, "tenth": 10, "halves": 2, **{f"{word}s": part for word, part in _PARTS.items()}}
_PARTS |= {"ninths": 9, "tenths": 10}
_HUNDREDTHS = {"percent", "percents", "cent", "cents", "percentage"}

# "one" is nearly always a pronoun, "second" a unit of time or an ordinal, so neither is a number by itself.
_ALONE = {
    **{word: Fraction(value) for word, value in (_UNITS | _TENS | _SCALES).items() if word != "one"},
    **{word: Fraction(1, 2) for word in ("half", "halves", "halve", "halved")},
    **{word: Fraction(1, 4) for word in ("quarter", "quarters")},
    **{word: Fraction(2) for word in ("twice", "double", "doubled", "doubles", "doubling", "twofold")},
    **{word: Fraction(3) for word in ("thrice", "triple", "tripled", "triples", "threefold")},
    **{word: Fraction(4) for word in ("quadruple", "quadrupled", "fourfold")},
    "dozens": Fraction(12),
    "fortnight": Fraction(2),  # weeks
}

NUMBER_WORDS = frozenset(_ALONE)

GLUE = frozenset(_TENS) | frozenset(_SCALES) | frozenset(_PARTS) | frozenset(_HUNDREDTHS)
"""Only next to one of these do number words and digits combine."""

_FRACTION = re.compile(r"\\[dt]?frac\s*\{?(\d+)\}?\s*\{?(\d+)\}?")
_GROUPING = re.compile(r"[\s,{}\\!]")


def value_of(token: str) -> Fraction | None:
    r"""The value of one token, ``None`` where it isn't a number.

    >>> [str(value_of(token)) for token in ("1,500.50", "25%", r"\frac{3}{4}", "twice", "duck")]
    ['3001/2', '1/4', '3/4', '2', 'None']
    """
    if token in _ALONE:
        return _ALONE[token]
    fraction = _FRACTION.fullmatch(token)
    if fraction is not None:
        top, bottom = fraction.groups()
    elif token[0].isdigit() or token[0] == ".":
        top, _, bottom = _GROUPING.sub("", token.rstrip("%")).replace("\u2044", "/").partition("/")
    else:
        return None
    try:
        value = Fraction(top) / Fraction(bottom or 1)
    except (ValueError, ZeroDivisionError):
        return None
    return value / 100 if token.endswith("%") else value


def join_number_words(tokens: list[str]) -> list[str]:
    """Tokens with each number of several words as one token of digits.

    >>> join_number_words("two hundred and forty five pens , a third , 2 dozen , ten percent".split())
    ['245', 'pens', ',', '1/3', ',', '24', ',', '1/10']
    """
    joined: list[str] = []
    position = 0
    while position < len(tokens):
        token = tokens[position]
        position += 1
        following = tokens[position] if position < len(tokens) else ""
        if following in GLUE or following == "-" or token in _TENS:
            value, end = _number_at(tokens, position - 1)
            if end > position:
                token, position = str(value), end
        joined.append(token)
    return joined


def _number_at(tokens: list[str], start: int) -> tuple[Fraction, int]:
    """The number that begins at a token, and where it ends (``start`` where none does)."""
    first = tokens[start]
    following = tokens[start + 1] if start + 1 < len(tokens) else ""
    if first in ("a", "an", "one") and following in _PARTS:
        return Fraction(1, _PARTS[following]), start + 2
    if first in ("a", "an") and following in _SCALES:
        return _scaled(tokens, Fraction(1), start + 1)
    spelled = _UNITS.get(first, _TENS.get(first))
    value = Fraction(spelled) if spelled is not None else value_of(first)
    if value is None or (first in _ALONE and spelled is None):
        return Fraction(0), start
    end = start + 1
    if first in _TENS:
        unit = end + (following == "-")
        if unit < len(tokens) and 0 < _UNITS.get(tokens[unit], 0) < 10:
            value += _UNITS[tokens[unit]]
            end = unit + 1
    return _scaled(tokens, value, end)


def _scaled(tokens: list[str], value: Fraction, end: int) -> tuple[Fraction, int]:
    """Take in what follows a value: "hundred", "and forty", "-thirds", "percent"."""
    while end < len(tokens) and tokens[end] in _SCALES:
        value *= _SCALES[tokens[end]]
        end += 1
        more = end + (end < len(tokens) and tokens[end] == "and")
        if value >= 100 and more < len(tokens) and tokens[more] in _UNITS.keys() | _TENS.keys():
            rest, rest_end = _number_at(tokens, more)
            if rest < value:
                value, end = value + rest, rest_end
    part = end + (end < len(tokens) and tokens[end] == "-")
    if part < len(tokens):
        if tokens[part] in _PARTS and value.denominator == 1 and value < 100:
            return value / _PARTS[tokens[part]], part + 1
        if tokens[end] in _HUNDREDTHS:
            return value / 100, end + 1
    return value, end
