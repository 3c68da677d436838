"""Curation: raw rows in, few good problems out (see :mod:`klear_data.curation.pipeline`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from klear_data.curation.options import CurateOptions
from klear_data.curation.pipeline import Curation
from klear_data.curation.rows import row_batches
from klear_data.curation.shards import Shard, merge_parts
from klear_data.jsonl import parse_object
from klear_data.records import Record
from klear_data.stage import Drop

__all__ = ["CurateOptions", "Curation", "Shard", "curate_rows", "merge_parts", "row_batches"]


def curate_rows(
    rows: Iterable[tuple[str, Record]], options: CurateOptions | None = None, **settings: Any
) -> Iterator[Record | Drop]:
    """Curate ``(where, row)`` pairs in memory; ``settings`` are those of :class:`Curation`.

    >>> rows = [("a.jsonl:1", {"problem": "1+1?", "answer": "2"}), ("a.jsonl:2", {"problem": "1+1?", "answer": "2"})]
    >>> [getattr(outcome, "reason", "kept") for outcome in curate_rows(rows)]
    ['duplicate', 'kept']
    """
    for outcome in Curation(options or CurateOptions(), **settings).run(row_batches(rows)):
        if isinstance(outcome, Drop):
            yield outcome
        else:
            yield from map(parse_object, outcome.data.split(b"\n")[:-1])
