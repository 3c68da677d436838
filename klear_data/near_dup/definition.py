"""What a near-duplicate is: the definition in plain Python, against which the kernels are tested.

Two problems are near-duplicates if

1. the **exact Jaccard similarity of their shingles** reaches the threshold. A shingle is three tokens in a row
   (all of them where a text has fewer); a token is a run of letters, digits and underscores, and each Chinese
   or Japanese character is one of its own. A text without tokens has no shingles and resembles nothing.
2. **their numbers agree**, as two problems that differ in a number are two problems, however much text they
   share: the same numbers, signs and operators, as often, and either in the same order (``3 apples, 5 pears`` is not
   ``5 apples, 3 pears``) or each inside the same shingles (a sentence that moved).

Texts are taken after :func:`klear_data.text.normalise`.
"""

from __future__ import annotations

import re
from collections import Counter

TOKENS_A_SHINGLE = 3
SHINGLES = "words+cjk/1, 3 in a row"
"""Named in reports, so that a change of rule is visible."""

CARDINALS = {
    "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7",
    "eight": "8", "nine": "9", "ten": "10", "eleven": "11", "twelve": "12", "thirteen": "13", "fourteen": "14",
    "fifteen": "15", "sixteen": "16", "seventeen": "17", "eighteen": "18", "nineteen": "19", "twenty": "20",
    "thirty": "30", "forty": "40", "fifty": "50", "sixty": "60", "seventy": "70", "eighty": "80", "ninety": "90",
    "hundred": "100", "thousand": "1000", "million": "1000000", "billion": "1000000000",
    "零": "0", "一": "1", "二": "2", "三": "3", "四": "4", "五": "5", "六": "6", "七": "7", "八": "8", "九": "9",
    "十": "10", "百": "100", "千": "1000", "万": "10000", "亿": "100000000",
}  # fmt: skip
"""Number words, and the digits that are the same number."""
OTHER_NUMBER_WORDS = frozenset(
    {"first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "half", "quarter",
     "once", "twice", "thrice", "double", "triple", "quadruple", "dozen", "两", "半", "双"}
)  # fmt: skip
"""Number words that are numbers of their own."""
NUMBER_WORDS = {**CARDINALS, **{word: word for word in OTHER_NUMBER_WORDS}}

CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
"""Hiragana and katakana, Han with its extension A and compatibility forms."""
HYPHENS = "-−–"
OPERATORS = dict(zip("*×·/÷⁄^%!√<≤>≥", "***///^%!√<<>>", strict=True))
"""Signs that say what to do with the number beside them, and the one of them that each means."""
_TOKEN = re.compile(rf"[{CJK}]|[^\W{CJK}]+")
_NUMBER = re.compile(r"\d+(?:,\d{3}(?!\d))*(?:\.\d+)?")  # 1,000 is 1000; (1,2) is 1 and 2
# A minus stands alone and not before a word: two-digit, "3 apples - how many", -- and --- have none.
_SIGN = re.compile(rf"\+|(?<![{HYPHENS}])[{HYPHENS}](?![{HYPHENS}])(?!\s*[^\W\d_]{{2}})")


def shingles(normalised: str) -> frozenset[tuple[str, ...]]:
    """The set of three tokens in a row.

    >>> sorted(shingles("find x_1 + 2 剪去"))
    [('2', '剪', '去'), ('find', 'x_1', '2'), ('x_1', '2', '剪')]
    >>> shingles("find x"), shingles("?!")
    (frozenset({('find', 'x')}), frozenset())
    """
    tokens = _TOKEN.findall(normalised)
    if 0 < len(tokens) < TOKENS_A_SHINGLE:
        return frozenset([tuple(tokens)])
    return frozenset(zip(tokens, tokens[1:], tokens[2:], strict=False))


def jaccard(left: str, right: str) -> float:
    """Common shingles over all shingles of two texts; 0 if neither has any."""
    one, two = shingles(left), shingles(right)
    return len(one & two) / len(one | two) if one or two else 0.0


def numbers(normalised: str) -> list[str]:
    """The numbers, number words and signs of a text in their order.

    >>> numbers("-5 is 1,000 times two, x2 + 3.5 a two-digit 7")
    ['-', '5', '1000', '2', '2', '+', '3.5', '2', '7']
    >>> numbers("is 12 ÷ 4 > 5%? **2** and/or 3.")
    ['12', '/', '4', '>', '5', '%', '2', '3']
    """
    found = [(match.start(), match[0].replace(",", "")) for match in _NUMBER.finditer(normalised)]
    found += [(match.start(), "+" if match[0] == "+" else "-") for match in _SIGN.finditer(normalised)]
    found += [(at, OPERATORS[sign]) for at, sign in enumerate(normalised) if _is_operator(normalised, at)]
    for match in _TOKEN.finditer(normalised):
        if match[0] in NUMBER_WORDS:
            found.append((match.start(), NUMBER_WORDS[match[0]]))
    return [number for _, number in sorted(found)]


def same_numbers(left: str, right: str) -> bool:
    """True if the numbers of two texts agree, as the second condition above has it.

    >>> same_numbers("3 apples and 5 pears", "5 pears and three apples")
    False
    >>> same_numbers("he has 3 apples. how many?", "how many? he has three apples.")
    True
    """
    one, two = numbers(left), numbers(right)
    if one == two:
        return True
    return Counter(one) == Counter(two) and _around_numbers(left) == _around_numbers(right)


def near_duplicates(left: str, right: str, *, threshold: float) -> bool:
    """The verdict on two normalised texts."""
    return jaccard(left, right) >= threshold and same_numbers(left, right)


def _is_operator(normalised: str, at: int) -> bool:
    """True for an operator beside a digit, spaces and ``=`` aside; a doubled one is emphasis."""
    before, sign, after = normalised[:at], normalised[at], normalised[at + 1 :]
    if sign not in OPERATORS or before.endswith(sign) or after.startswith(sign):
        return False
    return before.rstrip(" =")[-1:].isdecimal() or after.lstrip(" =")[:1].isdecimal()


def _around_numbers(normalised: str) -> frozenset[tuple[str, ...]]:
    return frozenset(shingle for shingle in shingles(normalised) if any(_is_numeric(token) for token in shingle))


def _is_numeric(token: str) -> bool:
    return token in NUMBER_WORDS or any(character.isdecimal() for character in token)
