"""Which rows ask the same problem, and what becomes of each such group."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from klear_data.curation.prepared import DROPPED, KEY_BYTES, UNKNOWN
from klear_data.curation.spool import Spool
from klear_data.dedup import Group, gold_of, join, merged
from klear_data.jsonl import glance, parse_object
from klear_data.records import Record

ALONE = -1


@dataclass(frozen=True)
class Groups:
    """Rows that share a key, in lists one after the other.

    Attributes:
        of_row: the group of each row, ``ALONE`` for rows without a duplicate.
        starts: where each group's rows begin in ``members``, with the end of the last.
        members: rows, rising within a group.
    """

    of_row: Any
    starts: array[int]
    members: array[int]

    def rows(self, group: int) -> array[int]:
        return self.members[self.starts[group] : self.starts[group + 1]]

    def size(self, group: int) -> int:
        return self.starts[group + 1] - self.starts[group]

    def last(self, group: int) -> int:
        return self.members[self.starts[group + 1] - 1]

    def __len__(self) -> int:
        return len(self.starts) - 1


def group_rows(keys: bytearray, flags: bytearray) -> Groups:
    """Groups of two rows and more with equal keys; dropped rows are in none.

    Sorting takes about 50 bytes a row while it runs.
    """
    import numpy as np

    live = np.flatnonzero(np.frombuffer(flags, np.uint8) & DROPPED == 0)
    halves = np.frombuffer(keys, "<u8").reshape(-1, KEY_BYTES // 8)[live]
    order = np.argsort(halves[:, 0], kind="stable")  # rows rise within equal keys
    if _mixed(halves[order]):
        order = np.lexsort((halves[:, 1], halves[:, 0]))
    halves = halves[order]
    repeats = (halves[1:] == halves[:-1]).all(axis=1)
    of_row = np.full(len(flags), ALONE, np.int64)
    grouped = np.concatenate((repeats, [False])) | np.concatenate(([False], repeats)) if len(order) else repeats
    members = live[order[grouped]]
    heads = np.flatnonzero(~np.concatenate(([False], repeats))[grouped]) if len(order) else members
    sizes = np.diff(np.append(heads, len(members)))
    of_row[members] = np.repeat(np.arange(len(heads)), sizes)
    starts = array("q", np.append(heads, len(members)).astype(np.int64).tobytes())
    return Groups(of_row, starts, array("q", members.astype(np.int64).tobytes()))


def _mixed(halves: Any) -> bool:
    """Whether different keys have their first half in common: one input of a million million rows."""
    same = halves[1:] == halves[:-1]
    return bool((same[:, 0] & ~same[:, 1]).any())


def agreeing(groups: Groups, spool: Spool, *, flags: int, of: int) -> Sequence[bool]:
    """Of each group: its rows have these flags ``of`` some, the same gold, and no rollouts.

    Then nothing but their count joins the survivor. Where a gold is not known they don't agree.
    """
    import numpy as np

    if not len(groups):
        return []
    members, starts = np.array(groups.members), np.array(groups.starts)
    golds = np.array(spool.golds)[members]
    same = (golds == np.repeat(golds[starts[:-1]], np.diff(starts))) & (golds != UNKNOWN)
    same &= np.frombuffer(spool.flags, np.uint8)[members] & of == flags
    same &= np.array(spool.rollouts)[members] == 0
    found: list[bool] = np.logical_and.reduceat(same, starts[:-1]).tolist()
    return found


@dataclass(slots=True)
class Resolution:
    """What becomes of the rows of one group.

    Attributes:
        survivor: the row that stays.
        record: what it becomes, ``None`` where its duplicates bring it nothing.
        survivor_id: its ``id``.
        where: its place.
        duplicates: how many rows it stands for besides itself.
        conflict: two golds that contradict each other; then nothing of the group stays.
        merged: rollouts that each of the other rows offered to the survivor.
        left: rows of the group that are still to be asked for.
    """

    survivor: int
    survivor_id: str
    where: str
    left: int
    record: Record | None = None
    duplicates: int = 0
    conflict: dict[str, Any] | None = None
    merged: dict[int, int] = field(default_factory=dict)


def resolve(rows: list[int], spool: Spool, *, merge_in_conflict: bool = False) -> Resolution:
    """Compare the rows of one problem, the survivor first, a few records in memory at a time."""
    first = glance(spool.line(rows[0]))
    group = Group([rows[0]], rows[0] if gold_of(first) else None)
    reference = first
    duplicates = 0
    for row in rows[1:]:
        record = glance(spool.line(row))
        if gold_of(record) == gold_of(reference):  # nearly always
            group.rows.append(row)
            group.merge_rows.add(row)
        else:
            reference_where = spool.where(group.reference_row)
            join(group, row, record, where=spool.where(row), reference=reference, reference_where=reference_where)
            reference = record if group.reference_row == row else reference
        duplicates += 1 + earlier_duplicates(record)
    found = Resolution(
        rows[0], first["id"], spool.where(rows[0]), len(rows), duplicates=duplicates, conflict=group.conflict
    )
    bring = [row for row in rows[1:] if row in group.merge_rows and (spool.rollouts[row] or group.gold_row != rows[0])]
    if bring and (merge_in_conflict or group.conflict is None):
        _merge(found, bring, spool)
    return found


def _merge(found: Resolution, rows: list[int], spool: Spool) -> None:
    """What the survivor becomes with what these rows bring."""

    def others() -> Iterator[Record]:
        for row in rows:
            found.merged[row] = spool.rollouts[row]
            yield parse_object(spool.line(row))

    first = parse_object(spool.line(found.survivor))
    whole = merged(first, others())
    found.record = None if whole == first else whole


def earlier_duplicates(record: Record) -> int:
    """How many duplicates an earlier run of this stage counted."""
    earlier = (record.get("curation") or {}).get("duplicates", 0)
    return earlier if isinstance(earlier, int) else 0
