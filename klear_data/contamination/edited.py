"""Copies with light edits: a word changed, added or left out, LaTeX in another spelling; the numbers are the same.

A short item with one word changed has no nine words in a row any more, and ``\\dfrac`` for ``\\frac`` breaks as many
n-grams as another word does. So this class compares prompt and item as a whole:

1. Runs of three tokens, of what is left when LaTeX's commands are taken away, name items that may be meant.
2. The tokens of both in one spelling of LaTeX are aligned. The prompt is an edited copy if it holds, in the same
   order, ``LEAST_COVERAGE`` of the item's tokens, and from the first to the last of these the item's numbers and
   no others.

Other numbers make another problem: that is the business of the class ``variant``.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from functools import cached_property
from typing import Any

from klear_data.contamination.ngrams import PLAIN_UP_TO, Runs, runs_of
from klear_data.contamination.tokens import SKELETON, tokeniser
from klear_data.contamination.types import Evidence, Item, Problem
from klear_data.text import normalise

RUN = 3
"""Tokens in a row that must be shared somewhere: a changed word breaks no more than three such runs."""

COMMON_ABOVE = 32
"""Runs in more items than that name nobody."""

LEAST_SHARED = 0.4
"""Share of an item's runs that makes it worth a comparison."""

LEAST_COVERAGE = 0.8
LEAST_TOKENS = 8
"""Of a shorter item every token must be there: one in seven is no light edit."""

_LATEX = tokeniser("latex")


class Edited:
    """Items, ready to be recognised in prompts that hold them almost word for word.

    Args:
        items: distinct ones.
    """

    def __init__(self, items: Sequence[Item]) -> None:
        self._items = items
        self._tokens: dict[int, list[str]] = {}
        self._runs: Runs = {}
        self._seen = 0
        holders: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for number, item in enumerate(items):
            for run in dict.fromkeys(_skeleton_runs(normalise(item.text))):
                holders[run].append(number)
        naming = [(run, numbers) for run, numbers in holders.items() if len(numbers) <= COMMON_ABOVE]
        self._runs = {run: place for place, (run, _) in enumerate(naming)}
        self._holders = [numbers for _, numbers in naming]
        counts = Counter(number for numbers in self._holders for number in numbers)
        self._least = [_least_shared(counts[number]) for number in range(len(items))]

    def score_many(self, problems: Sequence[Problem]) -> list[Evidence | None]:
        """The evidence against each prompt that is an edited copy."""
        self._seen += len(problems)
        texts = [problem.normalised for problem in problems]
        best: list[Evidence | None] = [None] * len(problems)
        last, tokens = -1, []
        for number, item in self.named_plain(texts) if self._seen <= PLAIN_UP_TO else self.named_fast(texts):
            if number != last:
                last, tokens = number, _canonical(*_both(problems[number]))
            evidence = self._compare(item, tokens)
            before = best[number]
            if evidence is not None and (before is None or evidence["coverage"] > before["coverage"]):
                best[number] = evidence
        return best

    def named_plain(self, texts: Sequence[str]) -> Iterator[tuple[int, int]]:
        """Which items each text may be a copy of: those that share enough runs with it."""
        for number, text in enumerate(texts):
            shared = {place for run in _skeleton_runs(text) if (place := self._runs.get(run)) is not None}
            counts = Counter(holder for place in shared for holder in self._holders[place])
            yield from ((number, item) for item in sorted(counts) if counts[item] >= self._least[item])

    def named_fast(self, texts: Sequence[str]) -> Iterator[tuple[int, int]]:
        """The same by a kernel."""
        from klear_data.contamination import kernels

        classes, *rest = self._tables
        found = kernels.sharing(kernels.tokenise(texts, classes), *rest)
        yield from sorted(zip(*(numbers.tolist() for numbers in found), strict=True))

    @cached_property
    def _tables(self) -> tuple[Any, ...]:
        import numpy as np

        from klear_data.contamination import kernels

        classes = kernels.classes_of(SKELETON)
        hashes = kernels.ngram_hashes(kernels.tokenise([" ".join(run) for run in self._runs], classes), RUN)
        least = np.array(self._least, dtype=np.int32)
        return classes, kernels.NgramTable(hashes, n=RUN), kernels.lists(self._holders), least

    def _compare(self, number: int, prompt: list[str]) -> Evidence | None:
        """The evidence if the prompt holds the item almost word for word."""
        if number not in self._tokens:
            item = self._items[number]
            self._tokens[number] = _canonical(normalise(item.text), item.text)
        tokens = self._tokens[number]
        missing = Counter(tokens) - Counter(prompt)
        allowed = (1 - LEAST_COVERAGE) * len(tokens) if len(tokens) >= LEAST_TOKENS else 0
        if not tokens or missing.total() > allowed or any(token.isdigit() for token in missing):
            return None
        matched, start, end = _aligned(tokens, prompt)
        if matched < len(tokens) - allowed or _numbers(prompt[start:end]) != _numbers(tokens):
            return None
        return {
            "class": "edited",
            "rule": "edited copy",
            **self._items[number].named(),
            "span": " ".join(prompt[start:end]),
            "coverage": round(matched / len(tokens), 3),
        }


def _skeleton_runs(normalised: str) -> Iterator[tuple[str, ...]]:
    return runs_of(SKELETON.tokens(normalised), RUN)


def _least_shared(runs: int) -> int:
    """How many of an item's runs a prompt must share; one changed word breaks three."""
    return max(1, min(math.ceil(LEAST_SHARED * runs), runs - RUN))


def _both(problem: Problem) -> tuple[str, str]:
    return problem.normalised, problem.text


def _canonical(normalised: str, original: str) -> list[str]:
    return _LATEX.tokens(_LATEX.prepare(normalised, original))


def _numbers(tokens: list[str]) -> Counter[str]:
    return Counter(token for token in tokens if token.isdigit())


def _aligned(item: list[str], prompt: list[str]) -> tuple[int, int, int]:
    """How many tokens of the item the prompt holds in order, and where in the prompt they begin and end."""
    blocks = SequenceMatcher(None, prompt, item, autojunk=False).get_matching_blocks()[:-1]
    matched = sum(block.size for block in blocks)
    return (matched, blocks[0].a, blocks[-1].a + blocks[-1].size) if blocks else (0, 0, 0)
