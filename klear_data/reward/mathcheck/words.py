"""Textual answers: their canonical spelling, numbers in words, choices by letter."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

_TEXT = re.compile(r"\\text\{([^{}]*)\}")
_MATHS = re.compile(r"[=<>^_\\+*/|{}\[\]%°!]")
_WORD = re.compile(r"[A-Za-zÀ-ɏ]{2,}|[\u3400-\u9fff]+")
_FUNCTION_NAMES = "sin cos tan cot sec csc ln log lg exp sqrt pi inf arcsin arccos arctan max min gcd lcm mod oo"
_FUNCTIONS = frozenset(_FUNCTION_NAMES.split())
_VARIABLES = frozenset("abcxyz")

_SYNONYMS = {
    "是": "yes", "否": "no", "不是": "no", "对": "true", "错": "false", "正确": "true", "错误": "false",
    "真": "true",
    "无穷": "infinity", "无穷大": "infinity", "positive infinity": "infinity",
    "假": "false", "无解": "no solution", "偶数": "even", "奇数": "odd",
}  # fmt: skip
NO_SOLUTION = frozenset(
    ["no solution", "no solutions", "empty set", "empty", "no real solution", "no real solutions", "does not exist",
     "no such number", "none", "null set", "dne", "空集", "no solution exists", "no solutions exist"]
)  # fmt: skip
REALS = frozenset(["all real numbers", "all reals", "real numbers", "any real number", "all real", "全体实数", "实数"])


@lru_cache(maxsize=65536)
def as_words(text: str) -> str:
    """The canonical spelling of a textual answer (lower case, no punctuation), "" where it is mathematics."""
    marked = "\\text{" in text
    flat = _TEXT.sub(r" \1 ", text).strip()
    flat = re.sub(r"(?<=\w)_(?=\w)", " ", flat) if marked else flat
    if _MATHS.search(flat):
        return ""
    found = _WORD.findall(flat)
    if not found or all(w.lower() in _FUNCTIONS for w in found):
        return ""
    if not marked and not any(_is_word(w) for w in found):
        return ""
    if not marked and re.match(r"-?\d", flat) and " " not in flat and flat.isascii():
        return ""
    words = re.sub(r"[^\w\s'-]", " ", flat).replace("-", " ").casefold()
    words = re.sub(r"^(?:the|an|a)\s+(?=\w)", "", " ".join(words.split()))
    return _SYNONYMS.get(words, words)


def _is_word(token: str) -> bool:
    if not token.isascii():
        return True
    if token.lower() in ("no", "up", "am", "pm"):
        return True
    return len(token) >= 3 and token.lower() not in _FUNCTIONS and not set(token) <= _VARIABLES


_UNIT_NAMES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
)
_TENS_NAMES = "twenty thirty forty fifty sixty seventy eighty ninety"
_UNITS = _UNIT_NAMES.split()
_TENS = dict(zip(_TENS_NAMES.split(), range(20, 100, 10), strict=True))
_CHINESE = dict(zip("零一二三四五六七八九", range(10), strict=True))


_CHINESE_TENS = {"十": 10, "百": 100, "千": 1000}
_IN_WORDS = {
    "hundred": Fraction(100), "one hundred": Fraction(100), "one thousand": Fraction(1000), "half": Fraction(1, 2),
    "one half": Fraction(1, 2), "one third": Fraction(1, 3), "two thirds": Fraction(2, 3),
    "one quarter": Fraction(1, 4), "three quarters": Fraction(3, 4),
}  # fmt: skip


def _chinese_number(words: str) -> Fraction | None:
    """``三十二`` is 32 and ``一百零五`` 105: a digit times its place, a skipped place said; else no number."""
    if words == "零":
        return Fraction(0)
    total, last = 0, 10_000
    for skipped, digit, place in re.findall(r"(零?)([^零十百千]?)([十百千]?)", words)[:-1]:
        size = _CHINESE_TENS.get(place, 1)
        gap = last > 10 * size and last != 10_000
        if size >= last or gap != bool(skipped) or (not digit and size != 10):
            return None
        total, last = total + _CHINESE.get(digit, 1) * size, size
    return Fraction(total)


@lru_cache(maxsize=4096)
def number_word(words: str) -> Fraction | None:
    """``twelve``, ``twenty one``, ``七`` as a number."""
    if not words or len(words) > 24:
        return None
    if set(words) <= _CHINESE.keys() | _CHINESE_TENS.keys():
        return _chinese_number(words)
    tens, _, rest = words.partition(" ")
    if words in _UNITS:
        return Fraction(_UNITS.index(words))
    if tens in _TENS and (not rest or rest in _UNITS[1:10]):
        return Fraction(_TENS[tens] + (_UNITS.index(rest) if rest else 0))
    return _IN_WORDS.get(words)


@dataclass(frozen=True)
class Choice:
    """A multiple-choice answer: its letter and, where given, the option's content."""

    letter: str
    content: str | None


_LETTER = re.compile(r"\(?\s*([A-Za-z])\s*\)?\s*[.:)]?")
_LABELLED = re.compile(r"(?:\(\s*([A-J])\s*\)|([A-J])\s*[).:])\s*(\S.*)", re.DOTALL)
_ANNOUNCED = re.compile(
    r"(?:the\s+)?(?:correct\s+)?(?:option|choice|answer|选项|选)(?:\s+is)?\s*:?\s*\(?([A-J])\)?\.?", re.IGNORECASE
)
_SEVERAL = re.compile(r"\(?[A-H](?:\s*(?:,|and|、|;)?\s*[A-H])+\)?")


def choice(text: str) -> Choice | None:
    """``A``, ``(A)``, ``A.``, ``\\text{(A)}``, ``option A``, ``A) 12`` as a choice."""
    flat = " ".join(_TEXT.sub(r" \1 ", text).split())
    match = _LETTER.fullmatch(flat)
    if match:
        return Choice(match[1], None)
    match = _ANNOUNCED.fullmatch(flat)
    if match:
        return Choice(match[1].upper(), None)
    match = _LABELLED.fullmatch(" ".join(text.replace("\\text{", "{").split())) if "\\text{" not in text else None
    match = match or _LABELLED.fullmatch(flat)
    if match:
        return Choice(match[1] or match[2], match[3].strip())
    return None


def several_choices(text: str) -> frozenset[str] | None:
    """``AC`` or ``A, C``: the letters, if they stand in alphabetical order or are separated."""
    flat = " ".join(_TEXT.sub(r" \1 ", text).split())
    if not _SEVERAL.fullmatch(flat):
        return None
    letters = re.findall(r"[A-H]", re.sub("and", "", flat))
    return frozenset(letters) if len(set(letters)) == len(letters) >= 2 else None
