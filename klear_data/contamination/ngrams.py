"""Finding known runs of n tokens in many texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import islice
from typing import Any

from klear_data.contamination.tokens import Tokeniser

PLAIN_UP_TO = 5_000
"""So many texts are looked up in plain Python before the kernels are loaded, which takes as long as these do."""

Tokens = Sequence[str]
Runs = dict[tuple[str, ...], int]
Finds = dict[int, list[tuple[int, int]]]
"""Text → where runs begin in it (counted in tokens), and the run's number. Only texts that hold one."""


def runs_of(tokens: Tokens, n: int) -> Iterator[tuple[str, ...]]:
    """Every n tokens in a row.

    >>> list(runs_of("abcd", 3))
    [('a', 'b', 'c'), ('b', 'c', 'd')]
    """
    return zip(*(islice(tokens, start, None) for start in range(n)), strict=False)


class Finder:
    """Looks texts up in sets of runs; few texts in plain Python, many with a kernel, with the same result.

    Args:
        sets: the runs of each set, with their numbers; those of one set are all of the same length.
        tokeniser: of the texts.
        texts: for each set the tokens of texts that hold its runs and no others of their length, if they are at
            hand: there each token stands once, in the runs many times.
    """

    def __init__(
        self, sets: Sequence[Runs], tokeniser: Tokeniser, texts: Sequence[Sequence[Tokens]] | None = None
    ) -> None:
        self._sets = [runs for runs in sets if runs]
        self._texts = [held for runs, held in zip(sets, texts or map(list, sets), strict=True) if runs]
        self._places = [place for place, runs in enumerate(sets) if runs]
        self._count = len(sets)
        self._tokeniser = tokeniser
        self._seen = 0

    def find_many(self, texts: Sequence[str]) -> list[Finds]:
        """For each set its runs in each text, given as its tokeniser wants it."""
        self._seen += len(texts)
        return self.find_plain(texts) if self._seen <= PLAIN_UP_TO else self.find_fast(texts)

    def find_plain(self, texts: Sequence[str]) -> list[Finds]:
        """The definition: cut each text into tokens and look every run up."""
        finds: list[Finds] = [{} for _ in range(self._count)]
        for number, text in enumerate(texts):
            tokens = self._tokeniser.tokens(text)
            for place, runs in zip(self._places, self._sets, strict=True):
                n = _length(runs)
                # In C from end to end: nearly every text holds none and gets no further.
                if not runs.keys().isdisjoint(runs_of(tokens, n)):
                    found = ((start, runs.get(run)) for start, run in enumerate(runs_of(tokens, n)))
                    finds[place][number] = [(start, run) for start, run in found if run is not None]
        return finds

    def find_fast(self, texts: Sequence[str]) -> list[Finds]:
        """The same: a kernel names places to look at, and there tokens are compared."""
        from klear_data.contamination import kernels

        classes, tables = self._tables
        hashed = kernels.tokenise(texts, classes)
        finds: list[Finds] = [{} for _ in range(self._count)]
        for place, runs, table in zip(self._places, self._sets, tables, strict=True):
            last, tokens = -1, []
            for number, start in zip(*(found.tolist() for found in kernels.find(hashed, table)), strict=True):
                if number != last:
                    last, tokens = number, self._tokeniser.tokens(texts[number])
                run = runs.get(tuple(tokens[start : start + table.n]))
                if run is not None:
                    finds[place].setdefault(number, []).append((start, run))
        return finds

    def candidates(self, data: bytes, ends: Any, *, shorter_than: int) -> list[int]:
        """Texts, prepared and in UTF-8, that may hold a run; and those of fewer tokens than so many."""
        from klear_data.contamination import kernels

        classes, tables = self._tables
        return kernels.candidates(kernels.tokenise_bytes(data, ends, classes), tables, shorter_than=shorter_than)

    @cached_property
    def _tables(self) -> tuple[Any, list[Any]]:
        from klear_data.contamination import kernels

        classes = kernels.classes_of(self._tokeniser)
        tables = []
        for runs, texts in zip(self._sets, self._texts, strict=True):
            hashes = kernels.ngram_hashes(kernels.tokenise(list(map(" ".join, texts)), classes), _length(runs))
            tables.append(kernels.NgramTable(hashes, n=_length(runs)))
        return classes, tables


def _length(runs: Runs) -> int:
    return len(next(iter(runs)))
