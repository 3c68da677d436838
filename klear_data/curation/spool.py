"""Rows waiting for the end of the input: their lines in a file, a few numbers a row in memory.

The lines of a batch stand in the file one after the other; where something is noted about rows of the batch, all
notes follow on one line.
"""

from __future__ import annotations

import os
import tempfile
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from itertools import islice, pairwise
from typing import IO

import orjson

from klear_data.contamination import Finding, Verdict
from klear_data.curation.prepared import NOTED, Note, Prepared
from klear_data.errors import UsageError
from klear_data.jsonl import to_line


class Spool:
    """Rows in the order they came, about 60 bytes each in memory.

    Args:
        file: where the lines wait; a temporary file by default.

    Attributes:
        keys: ``KEY_BYTES`` a row.
        golds: 64 bits of each row's gold, or ``UNKNOWN``.
        flags: a byte a row.
        numbers: of the lines in their files.
        rollouts: how many each row brings.
        sources: each row's ``data_source``, as a place in ``source_names``.
        source_names: all that occur.
        offsets: where each row begins in the file, and the end of the last.
    """

    def __init__(self, file: IO[bytes] | None = None) -> None:
        self._file = tempfile.TemporaryFile() if file is None else file  # noqa: SIM115  (closed in __exit__)
        self._source_ids: dict[str, int] = {}
        self.source_names: list[str] = []
        self.clear()

    def clear(self) -> None:
        """Forget all rows; their place in the file is used again."""
        self._firsts: list[int] = []
        self._names: list[str] = []
        self.keys = bytearray()
        self.golds = array("Q")
        self.flags = bytearray()
        self.numbers = array("q")
        self.rollouts = array("I")
        self.sources = array("I")
        self.offsets = array("q", [0])

    def __len__(self) -> int:
        return len(self.flags)

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, ready: Prepared) -> list[int]:
        """Append a batch's rows; the bytes that each takes in the file, without a newline.

        Raises:
            UsageError: the file can't be written.
        """
        lines, notes = ready.lines, b""
        if ready.notes:
            notes = to_line([[position, as_plain(note)] for position, note in ready.notes.items()])
        lengths = list(map(len, lines))
        if notes:
            lengths[-1] += len(notes)
        data = memoryview(b"\n".join([*lines, notes]))
        try:
            written = 0
            while written < len(data):
                written += os.pwrite(self._file.fileno(), data[written:], self.offsets[-1] + written)
        except OSError as error:
            raise UsageError(
                f"{tempfile.gettempdir()}: can't be written ({error.strerror}); expected room for a copy of the "
                f"input while it is curated; set TMPDIR to a folder on a larger disk"
            ) from None
        self.add_numbers(ready, lengths)
        return lengths

    def add_numbers(self, ready: Prepared, lengths: list[int]) -> None:
        """The part of :meth:`add` that stays in memory."""
        import numpy as np

        self._firsts.append(len(self))
        self._names.append(ready.name)
        self.offsets.frombytes((np.cumsum(np.array(lengths, np.int64) + 1) + self.offsets[-1]).tobytes())
        self.numbers.extend(ready.numbers)
        self.rollouts.extend(ready.rollouts)
        ids = self._source_ids
        for source in dict.fromkeys(ready.sources):
            ids.setdefault(source, len(ids))
        self.sources.extend(map(ids.__getitem__, ready.sources))
        self.source_names.extend(islice(ids, len(self.source_names), None))
        self.keys += ready.keys
        self.golds.extend(ready.golds)
        self.flags += ready.flags

    def batches(self) -> Iterator[tuple[str, int, int]]:
        """File, first row and end of each batch."""
        for name, (first, end) in zip(self._names, pairwise([*self._firsts, len(self)]), strict=True):
            yield name, first, end

    def read(self, first: int, end: int) -> bytes:
        """What stands in the file from one row to before another."""
        start = self.offsets[first]
        return os.pread(self._file.fileno(), self.offsets[end] - start, start)

    def batch(self, first: int, end: int) -> tuple[bytes, dict[int, Note]]:
        """The lines of the batch of these rows, and what is noted about some of them."""
        import numpy as np

        lines = self.read(first, end)
        if not (np.frombuffer(self.flags[first:end], np.uint8) & NOTED).any():
            return lines, {}
        notes_at = lines.rfind(b"\n", 0, -1) + 1
        notes = orjson.loads(lines[notes_at:])
        return lines[:notes_at], {first + position: from_plain(note) for position, note in notes}

    def line(self, row: int) -> bytes:
        """A record as it came."""
        return self.read(row, row + 1).partition(b"\n")[0]

    def where(self, row: int) -> str:
        """``FILE:LINE`` of a row."""
        return f"{self._names[bisect_right(self._firsts, row) - 1]}:{self.numbers[row]}"


def as_plain(note: Note) -> Note:
    """A note as JSON can hold it."""
    if "verdict" not in note:
        return note
    findings, boilerplate = note["verdict"]
    return {"verdict": [[list(finding) for finding in findings], boilerplate]}


def from_plain(note: Note) -> Note:
    """The note that :func:`as_plain` was given."""
    if "verdict" not in note:
        return note
    findings, boilerplate = note["verdict"]
    restored = tuple(Finding(action, evidence, tuple(grams)) for action, evidence, grams in findings)
    return {"verdict": Verdict(restored, boilerplate)}
