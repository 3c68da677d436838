"""The gold answer of a math problem, as the source states it."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

from klear_data.reward.mathcheck.extract import boxed_answer
from klear_data.sources.columns import Row, as_text, unquoted

ANSWER_COLUMNS = ("answer", "final_answer", "expected_answer", "ground_truth", "target")
SOLUTION_COLUMNS = ("solution", "ground_truth_solution")
_GSM8K_MARK = "####"
# Math23K prints 7/15 as ((7)/(15)) and the mixed number 3 1/2 as 3((1)/(2)).
_MATH23K_FRACTION = re.compile(r"(\d*)\(\((\d+)\)/\((\d+)\)\)")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}\b)")
_LONGEST_BARE_ANSWER = 40


def read_gold(row: Row) -> str:
    """The gold answer, ``""`` where the row states none.

    Looked for in this order: an answer column, an answer inside ``meta``, the box of a worked solution.
    """
    if "original_text" in row:
        return _math23k(as_text(row.peek("ans")))
    answer = row.peek(*ANSWER_COLUMNS)
    if isinstance(answer, str) and _GSM8K_MARK in answer:
        return gsm8k_gold(answer)
    if answer is not None:
        return unwrapped(row.take(*ANSWER_COLUMNS))
    meta = unquoted(row.peek("meta"))
    if isinstance(meta, dict) and meta.get("answer") is not None:
        return as_text(meta["answer"])
    solution = row.peek(*SOLUTION_COLUMNS) or (meta.get("solution") if isinstance(meta, dict) else None)
    return _of_solution(solution) if isinstance(solution, str) else ""


def gsm8k_gold(answer: str) -> str:
    """What stands after GSM8K's ``####``, without thousands commas.

    >>> gsm8k_gold("He earns 850000. #### 850,000")
    '850000'
    """
    return _THOUSANDS.sub("", answer.rpartition(_GSM8K_MARK)[2].strip())


def unwrapped(gold: Any) -> str:
    """A gold as text; a list of one string (OlympiadBench; Skywork-OR1 as JSON text) is the string.

    >>> unwrapped('["5"]'), unwrapped("[5]"), unwrapped(5)
    ('5', '[5]', '5')
    """
    inner = unquoted(gold)
    if isinstance(inner, list) and len(inner) == 1 and isinstance(inner[0], str):
        return inner[0]
    return as_text(gold)


def _of_solution(solution: str) -> str:
    boxed = boxed_answer(solution)
    if boxed is not None:
        return boxed
    bare = solution.strip()  # AIME files state "70" as the solution
    return bare if len(bare) <= _LONGEST_BARE_ANSWER and "\n" not in bare and " " not in bare else ""


def _math23k(answer: str) -> str:
    whole = _MATH23K_FRACTION.fullmatch(answer.strip())
    if whole is None or int(whole[3]) == 0:
        return answer
    units, numerator, denominator = int(whole[1] or 0), int(whole[2]), int(whole[3])
    value = units + Fraction(numerator, denominator)
    return f"\\frac{{{value.numerator}}}{{{value.denominator}}}"
