"""Plain numbers in the conventions people write them, numerals with a base, clock times."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

_PLAIN = re.compile(r"([+-]?)\s*(\d+(?:\.\d*)?|\.\d+)(?:[eE]([+-]?\d{1,4}))?")
_GROUPED = (
    re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?"),  # 1,234,567.8
    re.compile(r"[+-]?[1-9]\d{0,2}(?: \d{3})+(?:\.\d+)?"),  # 1 234 567
    re.compile(r"[+-]?\d{1,3}(?:'\d{3})+(?:\.\d+)?"),  # 1'234'567
    re.compile(r"[+-]?\d{1,2}(?:,\d{2})+,\d{3}(?:\.\d+)?"),  # 12,34,567 (Indian)
)
_EUROPEAN = re.compile(r"[+-]?\d{1,3}(?:(?:\.\d{3})+,\d+|(?: \d{3})+,\d+|(?:\.\d{3}){2,})")
_DECIMAL_COMMA = re.compile(r"[+-]?(?:0,\d{2,}|\d+,(?:\d{2}|\d{4,}))")
MAX_DIGITS = 5_000


@lru_cache(maxsize=65536)
def plain_number(text: str) -> Fraction | None:
    """The exact value of a number that is nothing but a number, thousands separators included."""
    text = text.strip()
    if len(text) > MAX_DIGITS or not text or text[-1] not in "0123456789.":
        return None
    match = _PLAIN.fullmatch(text)
    if match:
        value = Fraction(match[2].rstrip(".") if match[2] != "." else "0")
        if match[3]:
            value *= Fraction(10) ** int(match[3])
        return -value if match[1] == "-" else value
    for pattern in _GROUPED:
        if pattern.fullmatch(text):
            return Fraction(re.sub(r"[ ,']", "", text))
    if _EUROPEAN.fullmatch(text):
        return Fraction(text.replace(".", "").replace(" ", "").replace(",", "."))
    return None


def decimal_comma(text: str) -> Fraction | None:
    """``0,111`` or ``1,22`` read with a decimal comma; only sensible against a plain decimal."""
    text = text.strip()
    if len(text) < MAX_DIGITS and _DECIMAL_COMMA.fullmatch(text):
        return Fraction(text.replace(",", "."))
    return None


def joined_thousands(text: str) -> str:
    """The text with thousands separators inside numbers removed: ``1,234x`` is ``1234x``."""
    return re.sub(r"(?<![\d,.])[1-9]\d{0,2}(?:,\d{3})+(?![\d,])", lambda m: m.group().replace(",", ""), text)


@dataclass(frozen=True)
class Numeral:
    """Digits in a stated base, such as 204_5; the base is part of the answer."""

    digits: str
    base: int


_BASE_WORDS = {
    "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
    "eleven": 11, "twelve": 12, "sixteen": 16, "hex": 16,
}  # fmt: skip
_BASED = re.compile(
    r"([+-]?)\(?(?:\\text\{)?\s*([0-9A-Z][0-9A-Z ]*(?:\.[0-9A-Z]+)?)\s*\}?\)?"
    r"\s*_\s*(?:\{?\s*(?:\\text\{)?\s*([0-9]{1,2}|[a-z]+)\s*\}?\}?)"
)


def numeral(text: str) -> Numeral | None:
    """``204_5``, ``(204)_{5}``, ``1A_{\\text{sixteen}}`` as a numeral; a symbol with an index is none."""
    match = _BASED.fullmatch(text.strip())
    if not match:
        return None
    base = int(match[3]) if match[3].isdigit() else _BASE_WORDS.get(match[3], 0)
    digits = match[2].replace(" ", "").lstrip("0") or "0"
    letters_only = not any(c.isdigit() for c in match[2])
    if not 2 <= base <= 36 or (letters_only and (base <= 10 or len(digits) < 2)):
        return None
    if any(int(c, 36) >= base for c in digits if c != "."):
        return None
    return Numeral(match[1].replace("+", "") + digits, base)


@dataclass(frozen=True)
class Clock:
    """A time of day; ``half`` is am, pm or empty."""

    hour: int
    minute: int
    second: int
    half: str


_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?\s*([ap]\.?\s?m\.?)?", re.IGNORECASE)
_HOUR = re.compile(r"(\d{1,2})\s*([ap]\.?m\.?)", re.IGNORECASE)


def clock(text: str) -> Clock | None:
    """``4:30 p.m.``, ``16:30``, ``4 pm`` as a time of day."""
    text = re.sub(r"\\text\{([^{}]*)\}", r"\1", text).strip()
    match = _CLOCK.fullmatch(text)
    if match:
        hour, minute, second, half = int(match[1]), int(match[2]), int(match[3] or 0), match[4] or ""
    else:
        match = _HOUR.fullmatch(text)
        if not match:
            return None
        hour, minute, second, half = int(match[1]), 0, 0, match[2]
    half = re.sub(r"[^apm]", "", half.lower())
    if hour > 24 or minute > 59 or second > 59 or (half and not 1 <= hour <= 12):
        return None
    return Clock(hour, minute, second, half)


def same_time(a: Clock, b: Clock) -> bool:
    """Equal times; one without am/pm may be read either way or on the 24-hour clock."""
    if (a.minute, a.second) != (b.minute, b.second):
        return False
    if a.half and b.half:
        return a.half == b.half and a.hour % 12 == b.hour % 12
    if not a.half and not b.half:
        return a.hour == b.hour
    marked, bare = (a, b) if a.half else (b, a)
    return bare.hour in (marked.hour, marked.hour % 12 + (12 if marked.half == "pm" else 0))
