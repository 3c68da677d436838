"""Lines of a batch as columns: read from their bytes where they are plain, else parsed."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Sequence
from itertools import compress, pairwise
from operator import itemgetter
from typing import Any, NamedTuple

import orjson

from klear_data.curation.prepared import HAS_GOLD, SIGNABLE, UNKNOWN
from klear_data.filters import is_gold
from klear_data.jsonl import MAX_LEVELS, Batch
from klear_data.records import Record, plain_columns
from klear_data.text import normalise_many

Find = Callable[[bytes, Any], Sequence[int]]
"""Which of many texts the detector must look at (see :meth:`klear_data.contamination.Detector.candidates`)."""


class Rows(NamedTuple):
    """Columns, one entry a row, and ``sound``.

    Attributes:
        numbers: of the lines in the file.
        lines: without their newline.
        records: parsed, ``None`` where nobody needed to.
        texts: what each asks, normalised, in UTF-8.
        asked: whether the detector must look at it; the others are clean.
        golds: 64 bits of each gold, or ``UNKNOWN``.
        sources: its ``data_source``.
        flags: ``SIGNABLE`` and ``HAS_GOLD``.
        rollouts: how many it brings.
        sound: all are math problems whose prompts are more than a sign; told only where it is cheap to tell.
    """

    numbers: list[int]
    lines: list[bytes]
    records: Sequence[Record | None]
    texts: list[bytes]
    asked: list[bool]
    golds: list[int]
    sources: list[str]
    flags: list[int]
    rollouts: list[int]
    sound: bool = False

    def where(self, own: Sequence[bool]) -> Rows:
        return Rows._make([*(list(compress(column, own)) for column in self[:-1]), self.sound])

    def record(self, position: int) -> Record:
        known = self.records[position]
        return orjson.loads(self.lines[position]) if known is None else known


def joined(many: Rows, few: Rows) -> Rows:
    """The rows of both in the order of their numbers."""
    places = [place + bisect(many.numbers, number) for place, number in enumerate(few.numbers)]
    columns = [list(column) for column in list[Any](many)[:-1]]
    for column, others in zip(columns, list[Any](few)[:-1], strict=True):
        for place, value in zip(places, others, strict=True):
            column.insert(place, value)
    return Rows._make([*columns, many.sound and few.sound])


class Parsed(NamedTuple):
    """Columns of lines that were parsed, before their texts are normalised; see :class:`Rows`."""

    numbers: Sequence[int]
    lines: list[bytes]
    records: list[Record]
    prompts: Sequence[str]
    golds: Sequence[str]
    sources: Sequence[str]
    signable: Sequence[bool]
    rollouts: Sequence[int]
    sound: bool = False

    def rows(self, texts: list[bytes], asked: list[bool]) -> Rows:
        count = len(self.lines)
        flags = [
            SIGNABLE * signable | HAS_GOLD * golden
            for signable, golden in zip(self.signable, map(is_gold, self.golds), strict=True)
        ]
        golds, sources, rollouts = [UNKNOWN] * count, list(self.sources), list(self.rollouts)
        return Rows(
            list(self.numbers), self.lines, self.records, texts, asked, golds, sources, flags, rollouts, self.sound
        )


def normalised(parsed: Parsed) -> Rows:
    """The rows in plain Python, all to be looked at: the definition."""
    texts = [text.encode("utf-8", "surrogatepass") for text in normalise_many(parsed.prompts)]
    return parsed.rows(texts, [True] * len(texts))


def folded(parsed: Parsed, find: Find) -> Rows:
    """The same by a kernel."""
    from klear_data.curation import kernels

    data, ends = kernels.fold(parsed.prompts)
    return parsed.rows(_pieces(data, ends), _marks(find(data, ends), len(ends)))


def scanned(batch: Batch, find: Find) -> tuple[Rows, Batch]:
    """The rows of the plain lines of a batch, and a batch of the others."""
    from klear_data.curation import kernels
    from klear_data.curation.plain_lines.kernels import scan

    lines = batch.texts()
    found = scan(lines)
    plain: list[bool] = found.plain.tolist()
    other = [not is_plain for is_plain in plain]
    left = Batch(batch.name, list(compress(batch.numbers, other)), list(compress(batch.lines, other)))
    data, ends = kernels.fold_utf8(found.prompts, found.prompt_ends)
    count = len(ends)
    rows = Rows(
        list(compress(batch.numbers, plain)),
        list(compress(lines, plain)),
        [None] * count,
        _pieces(data, ends),
        _marks(find(data, ends), count),
        found.golds.tolist(),
        found.sources,
        [SIGNABLE | HAS_GOLD] * count,
        [0] * count,
        sound=True,
    )
    return rows, left


def plain_parsed(batch: Batch) -> Parsed | None:
    """The columns of a batch in which every line is a record of the usual keys; ``None`` for any other batch."""
    lines = batch.texts()
    try:
        records = list(map(orjson.loads, lines))
    except orjson.JSONDecodeError:
        return None
    plain = plain_columns(records)
    if plain is None or set(map(itemgetter(-1), lines)) != {ord("}")} or _is_deep(lines, plain.extras):
        return None
    sound = plain.abilities == {"math"} and min(map(len, map(str.strip, plain.prompts))) > 1
    return Parsed(batch.numbers, lines, records, *plain[:3], [True] * len(lines), [0] * len(lines), sound)


def _is_deep(lines: list[bytes], extras: int) -> bool:
    """Whether one of these plain records may be nested deeper than is allowed; told from all lines together.

    Each has its own brackets and those of its prompt, its message, its reward model, and ``extras`` of them those of
    ``extra_info``. Only where all brackets of a line besides these could be too many are lines counted one by one.
    """
    data = b"".join(lines)
    more = data.count(b"{") + data.count(b"[") - 4 * len(lines) - extras
    return more > MAX_LEVELS - 5 and any(line.count(b"{") + line.count(b"[") > MAX_LEVELS for line in lines)


def _pieces(data: bytes, ends: Any) -> list[bytes]:
    return [data[start:end] for start, end in pairwise([0, *ends.tolist()])]


def _marks(positions: Sequence[int], count: int) -> list[bool]:
    if len(positions) == count:
        return [True] * count
    marks = [False] * count
    for position in positions:
        marks[position] = True
    return marks
