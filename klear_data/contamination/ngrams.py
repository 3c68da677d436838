"""Finding known runs of n tokens in many texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import islice
from typing import Any

from klear_data.contamination.tokens import Tokeniser

PLAIN_UP_TO = 10_000
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
    """Looks texts up in a set of runs; few of them in plain Python, many with a kernel, with the same result.

    Args:
        runs: each with its number, all of ``n`` tokens.
        n: tokens of a run.
        tokeniser: of the texts.
    """

    def __init__(self, runs: Runs, n: int, tokeniser: Tokeniser) -> None:
        self.runs = runs
        self.n = n
        self._tokens = tokeniser.tokens
        self._classes = tokeniser
        self._seen = 0

    def find_many(self, texts: Sequence[str]) -> Finds:
        """The runs in each text, given as its tokeniser wants it."""
        if not self.runs:
            return {}
        self._seen += len(texts)
        return self.find_plain(texts) if self._seen <= PLAIN_UP_TO else self.find_fast(texts)

    def find_plain(self, texts: Sequence[str]) -> Finds:
        """The definition: cut each text into tokens and look every run up."""
        finds: Finds = {}
        for number, text in enumerate(texts):
            tokens = self._tokens(text)
            # In C from end to end: nearly every text holds none and gets no further.
            if self.runs.keys().isdisjoint(runs_of(tokens, self.n)):
                continue
            found = ((start, self.runs.get(run)) for start, run in enumerate(runs_of(tokens, self.n)))
            finds[number] = [(start, run) for start, run in found if run is not None]
        return finds

    def find_fast(self, texts: Sequence[str]) -> Finds:
        """The same: the kernel names places to look at, and there tokens are compared."""
        from klear_data.contamination import kernels

        classes, table = self._table
        finds: Finds = {}
        last, tokens = -1, []
        for number, start in zip(*map(list, kernels.find(kernels.pack(texts), classes, table)), strict=True):
            if number != last:
                last, tokens = number, self._tokens(texts[number])
            run = self.runs.get(tuple(tokens[start : start + self.n]))
            if run is not None:
                finds.setdefault(number, []).append((start, run))
        return finds

    @cached_property
    def _table(self) -> tuple[Any, Any]:
        from klear_data.contamination import kernels

        classes = kernels.classes_of(self._classes)
        hashes = kernels.ngram_hashes(kernels.pack([" ".join(run) for run in self.runs]), classes, self.n)
        return classes, kernels.NgramTable(hashes, n=self.n)
