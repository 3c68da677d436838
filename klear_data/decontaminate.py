"""n-gram decontamination: prompts that share n words in a row with a benchmark item (Klear-Reasoner §3.1, n = 9).

"9-gram" leaves much open, so what it means here is named in every record it looked at:

- **tokeniser** ``words+cjk/1``: after the normaliser of :mod:`klear_data.text`, runs of letters, digits and
  underscores; each Chinese or Japanese character is a token of its own.
- An n-gram found in more than ``boilerplate_above`` distinct items is **boilerplate** ("the first line
  contains a single integer t") and convicts nobody alone. A prompt that holds a whole item is convicted
  whatever its n-grams are.
- An item **shorter than n tokens** convicts a prompt that holds all of it in one piece; below
  ``MIN_SHORT_TOKENS`` tokens the prompt must be the item, as "1+1" stands in many.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from klear_data.errors import RecordError
from klear_data.jsonl import BadLine, Source
from klear_data.records import Record
from klear_data.sources import to_record
from klear_data.text import NORMALISER, normalise, prompt_text

TOKENISER = "words+cjk/1"
MIN_SHORT_TOKENS = 4
# Han with its extension A and compatibility forms, hiragana, katakana.
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_TOKEN = re.compile(rf"[{_CJK}]|[^\W{_CJK}]+")

Tokens = Sequence[str]


@dataclass(frozen=True)
class Item:
    """One benchmark problem: its file, its place there, the name its file gives it, its text."""

    benchmark: str
    where: str
    name: str | None
    text: str


@dataclass(frozen=True)
class Verdict:
    """What the rule saw in one prompt.

    Attributes:
        evidence: of the item that the prompt covers most, ``None`` where nothing convicts.
        boilerplate: how many n-grams the prompt shares with items that are only boilerplate.
    """

    evidence: dict[str, Any] | None
    boilerplate: int


CLEAN = Verdict(None, 0)


def tokens_of(normalised: str) -> list[str]:
    """The tokens of a text that :func:`klear_data.text.normalise` has been through.

    >>> tokens_of("剪去6米, find x_1+2")
    ['剪', '去', '6', '米', 'find', 'x_1', '2']
    """
    return _TOKEN.findall(normalised)


def read_benchmark(path: str) -> list[Item]:
    """The problems of a benchmark file, in any schema that curation reads; answers are not needed.

    Raises:
        RecordError: a line that can't be read, an item without text, or no item at all: decontaminating
            against less than was asked for is an error.
    """
    items: list[Item] = []
    source = Source(path)
    try:
        for row in source:
            if isinstance(row, BadLine):
                raise RecordError(f"{row.where}: {row.problem}; mend the benchmark file")
            where, raw = row
            try:
                record = to_record(raw, where, ability="math")
            except ValueError as error:
                raise RecordError(f"{where}: {error}") from None
            text = prompt_text(record["prompt"])
            if not text.strip():
                raise RecordError(f"{where}: an empty problem; expected a benchmark item; mend the benchmark file")
            items.append(Item(Path(path).name, where, _name(record), text))
    finally:
        source.close()
    if not items:
        raise RecordError(f"{path}: no benchmark items in it; expected at least one problem; check the file")
    return items


def _name(record: Record) -> str | None:
    extra = record.get("extra_info") or {}
    meta = extra.get("meta")
    for found in (extra, meta if isinstance(meta, dict) else {}):
        for key in ("task_id", "unique_id", "id"):
            if found.get(key) is not None:
                return str(found[key])
    return None


class Benchmarks:
    """The n-grams of benchmark items, ready to look prompts up.

    Args:
        items: the items; those equal to an earlier one after normalising count once.
        n: tokens in a row that convict.
        boilerplate_above: an n-gram in more than this many items is boilerplate.
    """

    def __init__(self, items: Iterable[Item], *, n: int = 9, boilerplate_above: int = 3) -> None:
        self.n = n
        self.boilerplate_above = boilerplate_above
        self.read: Counter[str] = Counter()
        distinct: dict[str, Item] = {}
        for item in items:
            self.read[item.benchmark] += 1
            distinct.setdefault(normalise(item.text), item)
        self.items = list(distinct.values())
        self._tokens = [tokens_of(text) for text in distinct]
        self._items_of = self._ngram_index()
        self._templated = self._without_own_ngram()
        self._short, self._tiny = self._short_index(list(distinct))

    def lookup(self, normalised: str) -> Verdict:
        """What the rule sees in a prompt, given after normalising."""
        tokens = tokens_of(normalised)
        short = self._short_verdict(normalised, tokens)
        if short is not None:
            return short
        # In C from end to end: nearly every prompt is clean and gets no further.
        if self._items_of.keys().isdisjoint(_hashes(tokens, self.n)):
            return CLEAN
        return self._ngram_verdict(tokens)

    def stamp(self, verdict: Verdict) -> dict[str, Any]:
        """``curation.decontamination`` of a record that stays."""
        return {
            "n": self.n,
            "tokeniser": TOKENISER,
            "normaliser": NORMALISER,
            "hits": 0,
            "boilerplate_hits": verdict.boilerplate,
        }

    def notes(self) -> dict[str, Any]:
        """What was compared against, for the stage's report."""
        boilerplate = sum(len(items) > self.boilerplate_above for items in self._items_of.values())
        return {
            "benchmarks": dict(self.read),
            "items": len(self.items),
            "items_shorter_than_n": sum(len(tokens) < self.n for tokens in self._tokens),
            "ngrams": len(self._items_of),
            "boilerplate_ngrams": boilerplate,
            "boilerplate_above": self.boilerplate_above,
        }

    def _ngram_index(self) -> dict[int, tuple[int, ...]]:
        """Hash of an n-gram → the items that hold it, each once."""
        index: dict[int, tuple[int, ...]] = {}
        for number, tokens in enumerate(self._tokens):
            for gram in set(_hashes(tokens, self.n)):
                index[gram] = (*index.get(gram, ()), number)
        return index

    def _without_own_ngram(self) -> frozenset[int]:
        """Items made of boilerplate alone: only a whole copy of one can convict."""
        own = {number for items in self._items_of.values() if len(items) <= self.boilerplate_above for number in items}
        return frozenset(number for items in self._items_of.values() for number in items if number not in own)

    def _short_index(self, texts: list[str]) -> tuple[dict[int, list[int]], dict[str, int]]:
        """Short items by the hash of their first tokens, and the tiny ones by their whole text."""
        short: dict[int, list[int]] = defaultdict(list)
        tiny: dict[str, int] = {}
        for number, tokens in enumerate(self._tokens):
            if len(tokens) >= self.n:
                continue
            if len(tokens) < MIN_SHORT_TOKENS:
                tiny[texts[number]] = number
            else:
                short[hash(tuple(tokens[:MIN_SHORT_TOKENS]))].append(number)
        return dict(short), tiny

    def _short_verdict(self, normalised: str, tokens: list[str]) -> Verdict | None:
        number = self._tiny.get(normalised)
        if number is None and not self._short.keys().isdisjoint(_hashes(tokens, MIN_SHORT_TOKENS)):
            number = next(self._short_items_in(tokens), None)
        if number is None:
            return None
        span = " ".join(self._tokens[number]) or normalised
        return Verdict({"rule": "whole item", **self._named(number), "span": span, "coverage": 1.0}, 0)

    def _short_items_in(self, tokens: list[str]) -> Iterator[int]:
        for start, gram in enumerate(_hashes(tokens, MIN_SHORT_TOKENS)):
            for number in self._short.get(gram, ()):
                item = self._tokens[number]
                if tokens[start : start + len(item)] == item:
                    yield number

    def _ngram_verdict(self, tokens: list[str]) -> Verdict:
        """Weigh a prompt that shares n-grams: which items, how much of each, and is it all boilerplate."""
        suspects: set[int] = set()
        boilerplate = 0
        for gram in set(_hashes(tokens, self.n)):
            items = self._items_of.get(gram, ())
            if len(items) <= self.boilerplate_above:
                suspects.update(items)
            else:
                boilerplate += 1
                suspects.update(self._templated.intersection(items))
        grams = set(_ngrams(tokens, self.n))
        convicting = [found for number in sorted(suspects) if (found := self._compare(number, grams)) is not None]
        return Verdict(max(convicting, key=lambda found: found["coverage"], default=None), boilerplate)

    def _compare(self, number: int, grams: set[tuple[str, ...]]) -> dict[str, Any] | None:
        """Evidence against a prompt with these n-grams, None where this item has none."""
        item, n = self._tokens[number], self.n
        starts = [start for start, gram in enumerate(_ngrams(item, n)) if gram in grams]
        common = sum(len(self._items_of[hash(tuple(item[s : s + n]))]) > self.boilerplate_above for s in starts)
        covered = {position for start in starts for position in range(start, start + n)}
        if common == len(starts) and len(covered) < len(item):
            return None
        first, last = _longest_run(starts)
        return {
            "rule": f"{n}-gram" if common < len(starts) else "whole item",
            **self._named(number),
            "span": " ".join(item[first : last + n]),
            "coverage": round(len(covered) / len(item), 3),
            "shared_ngrams": len(starts),
            "boilerplate_ngrams": common,
        }

    def _named(self, number: int) -> dict[str, Any]:
        item = self.items[number]
        name = {} if item.name is None else {"item_id": item.name}
        return {"benchmark": item.benchmark, "item": item.where, **name}


def _ngrams(tokens: Tokens, n: int) -> Iterator[tuple[str, ...]]:
    return zip(*(islice(tokens, start, None) for start in range(n)), strict=False)


def _hashes(tokens: Tokens, n: int) -> Iterator[int]:
    # Ints take a third of the memory of the tuples; what they find is compared token by token.
    return map(hash, _ngrams(tokens, n))


def _longest_run(starts: list[int]) -> tuple[int, int]:
    """First and last of the longest run of consecutive numbers in a rising list."""
    best = run = (starts[0], starts[0])
    for start in starts[1:]:
        run = (run[0], start) if start == run[1] + 1 else (start, start)
        if run[1] - run[0] > best[1] - best[0]:
            best = run
    return best
