"""Rows of a table, as a data set's reader gives them, in batches of lines like those of a file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from klear_data.jsonl import BATCH_ROWS, Batch, as_json, to_line
from klear_data.records import Record


def row_batches(rows: Iterable[tuple[str, Record]], *, size: int = BATCH_ROWS) -> Iterator[Batch]:
    """Batches of ``(where, row)``, where as ``FILE:LINE``; a batch holds rows of one file.

    >>> [(batch.name, list(batch.numbers)) for batch in row_batches([("a:1", {}), ("a:2", {}), ("b:1", {})])]
    [('a', [1, 2]), ('b', [1])]
    """
    name, numbers, lines = "", list[int](), list[bytes]()
    for where, row in rows:
        its_name, _, number = where.rpartition(":")
        if lines and (its_name != name or len(lines) == size):
            yield Batch(name, numbers, lines)
            numbers, lines = [], []
        name = its_name
        numbers.append(int(number))
        lines.append(to_line(as_json(row))[:-1])
    if lines:
        yield Batch(name, numbers, lines)
