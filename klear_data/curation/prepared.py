"""What the first pass leaves of each row: plain data, to be sent between processes and written down."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from klear_data.contamination import Verdict

KEY_BYTES = 16
"""128 bits of blake2b: the same in every process, and no two prompts of a trillion share one."""

SIGNABLE, HAS_GOLD, NOTED, DROPPED = 1, 2, 4, 8
"""Flags of a row: its stamp can be put at the end of its line; it has a gold; something is noted; it is dropped."""

UNKNOWN = 0
"""In place of a gold's hash: who wants to know must look at the record."""

Note = dict[str, Any]
"""``reason`` and ``evidence`` of a row that is dropped, or the ``verdict`` of one that is suspect."""


@dataclass(slots=True)
class Prepared:
    """What one batch came to; the lists have an entry for each row that is this run's own.

    Attributes:
        name: of the file.
        read: rows in the batch.
        foreign: of those, rows of other shards.
        numbers: of the lines in the file.
        lines: the records, one line each: as it came, where it was a record already.
        keys: ``KEY_BYTES`` a row.
        golds: 64 bits of each gold, or :data:`UNKNOWN`.
        flags: see :data:`SIGNABLE`.
        sources: each row's ``data_source``.
        rollouts: how many each row brings.
        notes: by position: why a row is dropped, or the verdict of the detector where it is not clean.
        bad: number, problem and bytes of the lines that are no records.
        suspects: key and verdict of every row, of any shard, in which the detector found something.
        all_keys: of all rows of the batch, where there are shards.
    """

    name: str
    read: int
    foreign: int = 0
    numbers: array[int] = field(default_factory=lambda: array("q"))
    lines: list[bytes] = field(default_factory=list)
    keys: bytearray = field(default_factory=bytearray)
    golds: array[int] = field(default_factory=lambda: array("Q"))
    flags: bytearray = field(default_factory=bytearray)
    sources: Sequence[str] = field(default_factory=list)
    rollouts: array[int] = field(default_factory=lambda: array("I"))
    notes: dict[int, Note] = field(default_factory=dict)
    bad: list[tuple[int, str, bytes]] = field(default_factory=list)
    suspects: list[tuple[bytes, Verdict]] = field(default_factory=list)
    all_keys: bytes = b""
