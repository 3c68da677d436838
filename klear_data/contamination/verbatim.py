"""The paper's rule: prompts that share n tokens in a row with a benchmark item (Klear-Reasoner §3.1, n = 9).

"9-gram" leaves much open; here it means:

- Tokens are those of one of the three tokenisers of :mod:`klear_data.contamination.tokens`.
- An n-gram found in more than ``boilerplate_above`` distinct items is **boilerplate** ("the first line
  contains a single integer t") and convicts nobody alone. A prompt that holds a whole item is convicted
  whatever its n-grams are.
- A conviction that covers less than half of its item rests on its n-grams being rare: none may be such a sentence
  and a few neighbouring words; it names them, and falls if they turn out to be frequent in the training data.
- An item **shorter than n tokens** convicts a prompt that holds all of it in one piece; below
  ``MIN_SHORT_TOKENS`` tokens the prompt must be the item, as "1+1" stands in many.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from klear_data.contamination.ngrams import Finder, Runs, runs_of
from klear_data.contamination.tokens import Tokeniser
from klear_data.contamination.types import Evidence, Item
from klear_data.text import normalise

MIN_SHORT_TOKENS = 4
_NEIGHBOURS = 3
"""What an n-gram may hold beside a shorter run of many items, and still be no sign of having read this one."""
SURE_COVERAGE = 0.5
"""From this share of an item on it is the item that was copied, and no sentence that everybody writes."""


class Passage(NamedTuple):
    """A text of a benchmark item that training data must not hold: its question, or a solution of it."""

    item: Item
    text: str
    part: str = "question"

    def named(self) -> Evidence:
        return {**self.item.named(), **({} if self.part == "question" else {"part": self.part})}


class Text(NamedTuple):
    """A text to look up."""

    normalised: str
    original: str


@dataclass(frozen=True)
class Suspicion:
    """Evidence, and the n-grams that it rests on if it covers little of the item."""

    evidence: Evidence
    ngrams: tuple[int, ...] = ()


@dataclass(frozen=True)
class Sight:
    """What the rule sees in one text.

    Attributes:
        suspicions: of the item that is covered most first; one that stands whatever is frequent is the last.
        boilerplate: how many n-grams the text shares with items that are only boilerplate.
    """

    suspicions: tuple[Suspicion, ...] = ()
    boilerplate: int = 0

    @property
    def coverage(self) -> float:
        """Of the item that is covered most."""
        return self.suspicions[0].evidence["coverage"] if self.suspicions else 0.0


NOTHING = Sight()


class Verbatim:
    """The n-grams of passages, ready to look texts up.

    Args:
        passages: those equal to an earlier one after normalising count once.
        tokeniser: what a token is.
        n: tokens in a row that convict.
        boilerplate_above: an n-gram in more than this many passages is boilerplate.
    """

    def __init__(self, passages: Iterable[Passage], tokeniser: Tokeniser, *, n: int, boilerplate_above: int) -> None:
        self.n = n
        self.boilerplate_above = boilerplate_above
        self._tokeniser = tokeniser
        distinct: dict[str, Passage] = {}
        for passage in passages:
            distinct.setdefault(normalise(passage.text), passage)
        self.passages = list(distinct.values())
        self._tokens = [tokeniser.tokens(tokeniser.prepare(text, passage.text)) for text, passage in distinct.items()]
        runs: Runs = {}
        self._runs = [[runs.setdefault(run, len(runs)) for run in runs_of(tokens, n)] for tokens in self._tokens]
        self._holders = _holders(self._runs, len(runs))
        self._templated = self._without_own_run()
        self._tiny: dict[str, int] = {}
        self._short: dict[int, list[int]] = defaultdict(list)
        heads = self._index_short(list(distinct))
        self._finder = Finder([runs, heads], tokeniser, texts=[self._tokens, list(heads)])

    def look(self, texts: Sequence[Text]) -> list[Sight]:
        """What the rule sees in each text."""
        prepare = self._tokeniser.prepare
        prepared = [prepare(text.normalised, text.original) for text in texts]
        sights = [NOTHING] * len(texts)
        runs, heads = self._finder.find_many(prepared)
        for number, finds in runs.items():
            sights[number] = self._weigh({run for _, run in finds})
        for number, finds in heads.items():
            whole = self._short_passage(self._tokeniser.tokens(prepared[number]), finds)
            if whole is not None:
                sights[number] = self._whole(whole, sights[number])
        if self._tiny:
            for number, text in enumerate(texts):
                if text.normalised in self._tiny:
                    sights[number] = self._whole(self._tiny[text.normalised], sights[number])
        return sights

    def candidates(self, data: bytes, ends: Any) -> list[int]:
        """Of texts in UTF-8 one after the other, which :meth:`look` may see something in; where each ends (int64)."""
        return self._finder.candidates(data, ends, shorter_than=MIN_SHORT_TOKENS)

    def notes(self) -> dict[str, Any]:
        """What was compared against, for the stage's report."""
        return {
            "items": len(self.passages),
            "items_shorter_than_n": sum(len(tokens) < self.n for tokens in self._tokens),
            "ngrams": len(self._holders),
            "boilerplate_ngrams": sum(map(self._is_common, range(len(self._holders)))),
            "boilerplate_above": self.boilerplate_above,
        }

    def _is_common(self, run: int) -> bool:
        return len(self._holders[run]) > self.boilerplate_above

    def _is_mostly_common(self, run: Sequence[str]) -> bool:
        """Whether a run is one that many passages hold, but for a few tokens at its ends."""
        return not self._common_cores.isdisjoint(runs_of(run, self._core_size))

    @property
    def _core_size(self) -> int:
        return self.n - _NEIGHBOURS if self.n > 2 * _NEIGHBOURS else self.n

    @cached_property
    def _common_cores(self) -> set[tuple[str, ...]]:
        """Shorter runs that many passages hold; most inputs never ask."""
        held = Counter(core for tokens in self._tokens for core in set(runs_of(tokens, self._core_size)))
        return {core for core, count in held.items() if count > self.boilerplate_above}

    def _without_own_run(self) -> frozenset[int]:
        """Passages made of boilerplate alone: only a whole copy of one can convict."""
        return frozenset(number for number, runs in enumerate(self._runs) if runs and all(map(self._is_common, runs)))

    def _index_short(self, texts: list[str]) -> Runs:
        """Short passages by their first tokens, and the tiny ones by their whole text."""
        heads: Runs = {}
        for number, tokens in enumerate(self._tokens):
            if len(tokens) >= self.n:
                continue
            if len(tokens) < MIN_SHORT_TOKENS:
                self._tiny[texts[number]] = number
            else:
                self._short[heads.setdefault(tuple(tokens[:MIN_SHORT_TOKENS]), len(heads))].append(number)
        return heads

    def _short_passage(self, tokens: list[str], heads: Iterable[tuple[int, int]]) -> int | None:
        """The first short passage that stands in the text as a whole."""
        return next(
            (
                number
                for start, head in heads
                for number in self._short[head]
                if tokens[start : start + len(self._tokens[number])] == self._tokens[number]
            ),
            None,
        )

    def _whole(self, number: int, sight: Sight) -> Sight:
        span = " ".join(self._tokens[number]) or normalise(self.passages[number].text)
        evidence = {
            "class": "verbatim",
            "rule": "whole item",
            **self.passages[number].named(),
            "span": span,
            "coverage": 1.0,
        }
        return Sight((Suspicion(evidence),), sight.boilerplate)

    def _weigh(self, shared: set[int]) -> Sight:
        """Weigh a text that shares n-grams: with which passages, how much of each, and is it all boilerplate."""
        boilerplate = {run for run in shared if self._is_common(run)}
        suspects = {number for run in shared - boilerplate for number in self._holders[run]}
        suspects.update(*(self._templated.intersection(self._holders[run]) for run in boilerplate))
        found = [seen for number in sorted(suspects) if (seen := self._compare(number, shared, boilerplate))]
        found.sort(key=lambda seen: -seen.evidence["coverage"])
        sure = next((place for place, seen in enumerate(found) if not seen.ngrams), len(found))
        return Sight(tuple(found[: sure + 1]), len(boilerplate))

    def _compare(self, number: int, shared: set[int], boilerplate: set[int]) -> Suspicion | None:
        """The suspicion against a text with these n-grams, ``None`` where this passage gives no reason."""
        tokens, n = self._tokens[number], self.n
        starts = [start for start, run in enumerate(self._runs[number]) if run in shared]
        own = {run for run in self._runs[number] if run in shared} - boilerplate
        covered = {position for start in starts for position in range(start, start + n)}
        coverage = len(covered) / len(tokens)
        if coverage < SURE_COVERAGE:
            places = ((start, run) for start, run in enumerate(self._runs[number]) if run in own)
            own = {run for start, run in places if not self._is_mostly_common(tokens[start : start + n])}
        if not own and coverage < 1:
            return None
        first, last = _longest_row(starts)
        evidence = {
            "class": "verbatim",
            "rule": f"{n}-gram" if own else "whole item",
            **self.passages[number].named(),
            "span": " ".join(tokens[first : last + n]),
            "coverage": round(coverage, 3),
            "shared_ngrams": len(starts),
            "boilerplate_ngrams": sum(self._runs[number][start] in boilerplate for start in starts),
        }
        return Suspicion(evidence, () if coverage >= SURE_COVERAGE else tuple(sorted(own)))


def _holders(runs_of_passages: list[list[int]], count: int) -> list[tuple[int, ...]]:
    """Run → the passages that hold it, each once."""
    holders: list[tuple[int, ...]] = [()] * count
    for number, runs in enumerate(runs_of_passages):
        for run in set(runs):
            holders[run] = (*holders[run], number)
    return holders


def _longest_row(starts: list[int]) -> tuple[int, int]:
    """First and last of the longest row of consecutive numbers in a rising list."""
    best = row = (starts[0], starts[0])
    for start in starts[1:]:
        row = (row[0], start) if start == row[1] + 1 else (start, start)
        if row[1] - row[0] > best[1] - best[0]:
            best = row
    return best
