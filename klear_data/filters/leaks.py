"""Problems whose text gives their answer away."""

from __future__ import annotations

import re
from functools import lru_cache

from klear_data.filters.base import Rejection, around, question_of
from klear_data.filters.checks import has_gold
from klear_data.records import Record
from klear_data.reward.mathcheck.extract import boxed_answer

_LONGEST_GOLD = 120
_SPACES = re.compile(r"\$|\\[,;! ]|\\left|\\right|(?<=\\)[dt](?=frac)|(?<!\w)\s+|\s+(?!\w)")
# Where an answer is announced. "If the answer is 5, enter 005" announces none.
_ANNOUNCED = re.compile(
    r"(?<!if )(?:\b(?:the |correct |final |its )(?:correct |final )?(?:answer|solution|result) (?:is|=|equals|:)"
    r"|\b(?:answer|solution|ans)\s*[:：=]|答案(?:是|为|[:：]))\s*(?P<rest>.{1,200})",
    re.IGNORECASE | re.DOTALL,
)
_CLAIM = re.compile(
    r"\b(?:show|prove|verify|demonstrate|check) that\b(?P<claim>[^.?!]*(?:\.\d[^.?!]*)*)", re.IGNORECASE
)
_ANNOUNCING = ("answer", "solution", "result", "ans:", "ans=", "ans ", "答案")
_CLAIMING = ("show that", "prove that", "verify that", "demonstrate that", "check that")


def answer_filter_of_prompt(record: Record) -> Rejection | None:
    """``answer_in_prompt``: the prompt of a mathematics problem boxes its gold, announces it ("the answer is 5"), or
    asks to show that something equals it.

    A gold that merely stands in the text is no leak: most numbers of a problem do.
    """
    text = question_of(record)
    lowered = text.lower()
    announces = any(word in lowered for word in _ANNOUNCING)
    claims = any(word in lowered for word in _CLAIMING)
    if not (announces or claims or "\\boxed" in lowered) or not has_gold(record):
        return None
    gold = _bare(record["reward_model"]["ground_truth"])
    if not gold or len(gold) > _LONGEST_GOLD:
        return None
    boxed = boxed_answer(text) if "\\boxed" in lowered else None
    if boxed is not None and _bare(boxed) == gold:
        return Rejection("answer_in_prompt", {"found": f"\\boxed{{{boxed}}}"})
    for announced in _ANNOUNCED.finditer(text) if announces else ():
        if re.match(_as_whole(gold), _bare(announced["rest"])):
            return Rejection("answer_in_prompt", {"found": around(announced, width=0)[:120]})
    for claim in _CLAIM.finditer(text) if claims else ():
        if re.search(rf"(?:=|equals|is){_as_whole(gold)}[.,]?$", _bare(claim["claim"])):
            return Rejection("answer_in_prompt", {"found": around(claim, width=0)[:120]})
    return None


def _bare(text: str) -> str:
    r"""A formula without what does not count in it.

    >>> _bare(r"$ \dfrac{1}{2} $")
    '\\frac{1}{2}'
    """
    return _SPACES.sub("", text)


@lru_cache(maxsize=16)
def _as_whole(gold: str) -> str:
    """A pattern for the gold that ends where it ends: 5 is not the 5 of 54, 5.2, 5x, 5/2 or 5^2."""
    return rf"{re.escape(gold)}(?![\w^_/*+\-]|[.,]\d|\\(?:frac|sqrt|cdot|times|pi|circ|%))"
