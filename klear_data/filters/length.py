"""Prompts that are too short to be a problem, or longer than anybody wants to train on."""

from __future__ import annotations

import re
from dataclasses import dataclass

from klear_data.errors import UsageError
from klear_data.filters.base import Rejection
from klear_data.records import Record
from klear_data.text import prompt_text

# Roughly what a tokeniser makes of a prompt: words, numbers digit by digit, signs, CJK characters one by one.
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
_PIECE = re.compile(rf"\d|[{_CJK}]|[^\W\d{_CJK}]+|[^\w\s]")


@dataclass(frozen=True)
class Bounds:
    """Least and most, both allowed; ``None`` for no bound."""

    least: int | None = None
    most: int | None = None

    @classmethod
    def parse(cls, text: str, *, option: str) -> Bounds:
        """``10:2000``, ``10:`` or ``:2000``.

        Raises:
            UsageError: anything else, or a least above the most.

        >>> Bounds.parse("10:", option="--chars")
        Bounds(least=10, most=None)
        """
        match = re.fullmatch(r"(\d*):(\d*)", text.strip())
        low, high = (int(part) if part else None for part in match.groups()) if match else (None, None)
        if (low is None and high is None) or (low is not None and high is not None and low > high):
            raise UsageError(f"{option} {text}: no range; expected LEAST:MOST, LEAST: or :MOST, as in 20:8000")
        return cls(low, high)

    def problem(self, value: int) -> str | None:
        """``too_short``, ``too_long`` or ``None``."""
        if self.least is not None and value < self.least:
            return "too_short"
        return "too_long" if self.most is not None and value > self.most else None


ANY = Bounds()


def length_filter(record: Record, *, chars: Bounds, tokens: Bounds) -> Rejection | None:
    """``too_short`` or ``too_long``: the prompt in characters, or in tokens as :func:`count_tokens` counts them."""
    text = prompt_text(record["prompt"])
    reason = chars.problem(len(text))
    if reason is not None:
        return Rejection(reason, {"chars": len(text)})
    if tokens == ANY:
        return None
    count = count_tokens(text)
    reason = tokens.problem(count)
    return None if reason is None else Rejection(reason, {"tokens": count})


def count_tokens(text: str) -> int:
    """About how many tokens a language model's tokeniser makes of a text, without one.

    >>> count_tokens("Find x if 2x = 14.")
    9
    """
    return sum(1 for _ in _PIECE.finditer(text))
