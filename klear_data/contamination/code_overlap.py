"""The class ``code``: a programming task of a benchmark in other words, or under another name.

What a rewording of a task keeps is its **examples**: the literals of prompt and tests (``[1.0, 2.8, 3.0]``,
``'three one five'``), and part of its vocabulary, names of functions and parameters included (``has_close_elements``
and ``hasCloseElements`` are three words). Both are weighed by how rare they are among the benchmarks' own tasks;
short literals such as ``[1, 2, 3]`` say little. The comparison is that of :mod:`klear_data.contamination.paraphrase`,
with literals in the place of numbers.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from klear_data.contamination.overlap.encode import LITERAL, Encoder
from klear_data.contamination.overlap.index import Features, Match, OverlapIndex
from klear_data.contamination.overlap.numbers import NUMBER_WORDS
from klear_data.contamination.overlap.words import STOP_WORDS
from klear_data.contamination.types import Evidence, Item, Problem
from klear_data.records import Record
from klear_data.text import normalise

COEFFICIENTS = Features(dice=9.0, covered=0.8, numbers=6.0, text_mass=-1.2, number_mass=3.3, same_answer=0.0)
CONSTANT = -12.6
LEAST_DICE = 0.05
SPAN_WORDS = 12
SPAN_EXAMPLES = 5
COMMON_ABOVE = 3
TEST_CHARACTERS = 4_000
"""Of the tests, how much is read for literals: those of contests run to megabytes."""

_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_WORD = re.compile(r"[^\W\d_]{2,}")
_STRING = re.compile(r"(?<!\w)(?:'(?:[^'\\\n]|\\.){0,60}'|\"(?:[^\"\\\n]|\\.){0,60}\")")
_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?!\w|\.\d)")
_SPACES = re.compile(r"[\s'\"]+")
_TRAILING = re.compile(r"\.0+(?!\d)|(?<=\.\d)0+(?!\d)")
_MARKS = ("def ", "function", ">>> ", "assert ", "return", "class ", "python", "string", " list", " array", "output")

# The innermost list, tuple, set or argument list, and whether there are only values in it.
_GROUP = re.compile(r"[\[({]([^\[\](){}]{1,300})[\])}]")
_VALUES = re.compile(r"(?:[\s\d.,:+-]|'[^'\n]*'|\"[^\"\n]*\"|true|false|none|null)+", re.IGNORECASE)


def tokenise(task: str) -> list[str]:
    """Words and, marked, literals of a task.

    >>> [token.replace(LITERAL, "=") for token in tokenise("sortEven([5, 6, 3.0]) gives 'ab c'")]
    ['sort', 'even', 'gives', 'ab', '=5,6,3', '=ab c']
    """
    words = _WORD.findall(normalise(_CAMEL.sub(" ", task)))
    found = [word for word in words if word not in NUMBER_WORDS]
    return found + [LITERAL + literal for literal in dict.fromkeys(literals(task))]


def literals(text: str) -> list[str]:
    """Values written in a task, in one spelling: brackets and quotes alike, no spaces, 3.0 as 3.

    >>> literals("f([[1, 2.50], [3, 4]], 'no') == 7")
    ['1,2.5', '3,4', 'no', '7']
    """
    groups = [match.group(1) for match in _GROUP.finditer(text) if _VALUES.fullmatch(match.group(1))]
    groups = [group for group in groups if not _STRING.fullmatch(group)]
    strings = [string for match in _STRING.finditer(text) if len(string := match.group()[1:-1]) > 1]
    numbers = _NUMBER.findall(_GROUP.sub(" ", text))
    found = [_TRAILING.sub("", _SPACES.sub("", value)).strip(",") for value in groups + numbers]
    return [value for value in found[: len(groups)] + strings + found[len(groups) :] if value]


def likelihood(literal: str) -> float:
    """About which part of all tasks has a literal: the shorter and the more regular, the more.

    >>> likelihood("5") >= likelihood("1,2,3,4,5,6") > likelihood("7,2,9") > likelihood("1,2.8,3,4,5,2")
    True
    """
    elements = literal.split(",")
    if len(elements) > 1 and all(element.isdigit() or len(element) == 1 for element in elements):
        numbers = [int(element) if element.isdecimal() else ord(element[0]) for element in elements]
        steps = {after - before for before, after in pairwise(numbers)}
        bits = 1.5 * (len(steps) + 1)
    else:
        bits = 0.9 * len(literal)
    return float(min(1.0, 10 * 0.5**bits))


class CodeScorer:
    """Tasks ready to be found again under other names.

    Args:
        items: of the benchmarks; those that are no code are left out.
    """

    def __init__(self, items: Sequence[Item]) -> None:
        self._items = [item for item in items if item.record.get("ability") == "code"]
        self._tasks = [_task(item.text, item.record) for item in self._items]
        self._common = _common_literals(self._tasks)
        self._index = OverlapIndex(
            Encoder(self._tasks, self._tokens),
            [0] * len(self._items),
            likelihood=likelihood,
            formula_weight=0.0,
            least_dice=LEAST_DICE,
            against_smaller=True,
        )

    def score_many(self, problems: Sequence[Problem]) -> list[Evidence | None]:
        """The evidence against each prompt, ``None`` where there is none."""
        evidence: list[Evidence | None] = [None] * len(problems)
        places = [place for place, problem in enumerate(problems) if self._items and _is_code(problem)]
        if not places:
            return evidence
        tasks = [_task(problems[place].text, problems[place].record) for place in places]
        matches = self._index.best(tasks, COEFFICIENTS, constant=CONSTANT)
        for place, task, match in zip(places, tasks, matches, strict=True):
            if match is not None:
                evidence[place] = self._evidence(task, match)
        return evidence

    def _tokens(self, task: str) -> list[str]:
        return [token for token in tokenise(task) if token not in self._common]

    def _evidence(self, task: str, match: Match) -> Evidence:
        own = set(self._tokens(task))
        shared = [token for token in dict.fromkeys(self._tokens(self._tasks[match.item])) if token in own]
        words = [token for token in shared if token[0] != LITERAL and token not in STOP_WORDS]
        examples = sorted((token[1:] for token in shared if token[0] == LITERAL), key=len, reverse=True)
        return {
            "class": "code",
            "rule": "examples and words",
            **self._items[match.item].named(),
            "span": " ".join(words[:SPAN_WORDS]),
            "coverage": round(match.features.covered, 3),
            "score": round(match.score, 2),
            "text_overlap": round(match.features.dice, 3),
            "examples": examples[:SPAN_EXAMPLES],
        }


def _common_literals(tasks: Sequence[str]) -> frozenset[str]:
    """Long literals that more than ``COMMON_ABOVE`` tasks state ("[1, 2, 2] is no permutation"): part of a template."""
    held = Counter(literal for task in tasks for literal in set(literals(task)))
    return frozenset(LITERAL + literal for literal, count in held.items() if count > COMMON_ABOVE and len(literal) > 2)


def _is_code(problem: Problem) -> bool:
    return problem.record.get("ability") == "code" or any(mark in problem.normalised for mark in _MARKS)


def _task(text: str, record: Record) -> str:
    """What a task says, and the literals of its tests."""
    tests = (record.get("reward_model") or {}).get("ground_truth") if record.get("ability") == "code" else None
    if not isinstance(tests, str):
        return text
    # The tests are JSON: quotes inside are escaped.
    known = literals(tests[:TEST_CHARACTERS].replace("\\n", "\n").replace('\\"', '"'))
    return "\n".join([text, *(f"({literal})" for literal in known)])
