"""The second pass of curation: what becomes of each row, now that all others are known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

from klear_data.contamination import CLEAN, Detector, Verdict
from klear_data.curation.groups import ALONE, Groups, Resolution, agreeing, earlier_duplicates, resolve
from klear_data.curation.options import CurateOptions
from klear_data.curation.prepared import HAS_GOLD, NOTED, SIGNABLE, Note
from klear_data.curation.shards import Marker
from klear_data.curation.spool import Spool
from klear_data.dedup import survivor_first
from klear_data.filters import Rejection, answer_filter, has_gold
from klear_data.jsonl import glance, parse_object, to_line
from klear_data.records import Record
from klear_data.sources.catalog import rank_of_source
from klear_data.stage import Drop, Lines

Outcomes = Iterator[Lines | Drop]
_END = b"}\n"
"""How each line ends; there is no other newline in it."""


class Closing:
    """Decides row by row, and counts.

    Args:
        options: what to do.
        detector: settles the verdicts of suspect rows and signs the others.
        spool: the rows.

    Attributes:
        groups: rows that ask the same, ``None`` for no duplicates.
        marker: marks what is written as a shard's.
        rows_out: records that stay, by source.
        rollouts: of the records that stay.
    """

    def __init__(self, options: CurateOptions, detector: Detector | None, spool: Spool) -> None:
        self._options = options
        self._detector = detector
        self._spool = spool
        self._resolved: dict[int, Resolution] = {}
        self._survivors: dict[int, tuple[str, str]] = {}
        self._endings: dict[int, bytes] = {}
        # A row that is signable and has its gold is clean unless something is noted: it gets the usual stamp.
        self._wanted = SIGNABLE | (HAS_GOLD if options.require_gold else 0)
        self._agreeing: Sequence[bool] = ()
        self._gone = bytearray()
        self.groups: Groups | None = None
        self.marker: Marker | None = None
        self.rows_out: Counter[str] = Counter()
        self.rollouts = 0
        self.boilerplate_only = 0
        self.conflicting_groups = 0

    def run(self) -> Outcomes:
        """The outcomes of all rows of the spool, in order.

        Rows that need no more than the usual stamp are copied in runs; the others are looked at one by one.
        """
        if self.groups is not None and self.marker is None and self._options.prefer == "first":
            self._agreeing = agreeing(self.groups, self._spool, flags=self._wanted, of=self._wanted | NOTED)
        self._gone = bytearray(len(self._spool))
        for name, first, end in self._spool.batches():
            if self.marker is not None:
                self.marker.see(name)
            kept: list[bytes] = []
            for outcome in self._batch(name, first, end, kept):
                end -= 1
                yield outcome
            yield Lines(b"".join(kept), end - first)

    def _batch(self, name: str, first: int, end: int, kept: list[bytes]) -> Iterator[Drop]:
        """The drops of a batch; lines that stay are put with those that are kept."""
        lines, notes = self._spool.batch(first, end)
        bare = lines.split(_END)
        usual = self._ending(0, CLEAN) + b"\n"
        done = 0
        for row, group in self._special_rows(first, end):
            position = row - first
            if position > done:
                kept += usual.join(bare[done:position]), usual
            done = position + 1
            line = bare[position] + b"}"
            if group != ALONE and self._agreeing and self._agreeing[group]:
                outcome = self._agreed(row, line, name, group)
            else:
                outcome = self._row(row, line, name, notes.get(row, {}))
            if isinstance(outcome, Drop):
                self._gone[row] = True
                yield outcome
            else:
                kept.append(outcome)
        kept.append(usual.join(bare[done:]))  # the last is empty: each line ends so

    def _special_rows(self, first: int, end: int) -> Iterable[tuple[int, int]]:
        """The rows for which the usual stamp is not enough, with their groups; the others are counted here."""
        import numpy as np

        plain = np.frombuffer(self._spool.flags[first:end], np.uint8) & (self._wanted | NOTED) == self._wanted
        groups = np.full(end - first, ALONE) if self.groups is None else self.groups.of_row[first:end]
        plain &= groups == ALONE
        if self.marker is not None:
            plain[:] = False
        self.rollouts += int(np.array(self._spool.rollouts[first:end])[plain].sum())
        counts = np.bincount(np.array(self._spool.sources[first:end])[plain])
        self.rows_out.update(dict(zip(self._spool.source_names, counts.tolist(), strict=False)))
        special = np.flatnonzero(~plain)
        return zip((special + first).tolist(), groups[special].tolist(), strict=True)

    def _agreed(self, row: int, line: bytes, name: str, group: int) -> bytes | Drop:
        """The line of a row that stays, or its drop, where :func:`agreeing` says that only the count joins it."""
        assert self.groups is not None
        where = f"{name}:{self._spool.numbers[row]}"
        known = self._survivors.get(group)
        if known is None:
            self._survivors[group] = glance(line)["id"], where
            self.rows_out[self._spool.source_names[self._spool.sources[row]]] += 1
            return line[:-1] + self._ending(self.groups.size(group) - 1, CLEAN) + b"\n"
        if row == self.groups.last(group):
            del self._survivors[group]
        evidence = {"where": where, "of": known[0], "of_where": known[1], "rollouts_merged": 0}
        return Drop({}, "duplicate", evidence, line)

    def _row(self, row: int, line: bytes, name: str, note: Note) -> bytes | Drop:
        """The line of a row that stays, or why it does not."""
        spool = self._spool
        found = None
        if "reason" in note:
            rejection: Rejection | None = Rejection(note["reason"], note["evidence"])
        else:
            group = ALONE if self.groups is None else int(self.groups.of_row[row])
            found = None if group == ALONE else self._resolution(group)
            rejection = None if found is None else self._fate(found, row)
        whole = None if found is None else found.record
        verdict = note.get("verdict", CLEAN)
        if rejection is None:
            if verdict is not CLEAN and self._detector is not None:
                verdict = self._detector.settle(verdict)
            rejection = self._last_checks(row, line, whole, verdict)
        if rejection is not None:
            number = spool.numbers[row]
            mark = {} if self.marker is None else {"shard": self.marker.mark(number)}
            evidence = {"where": f"{name}:{number}", **rejection.evidence, **mark}
            return Drop(whole or {}, rejection.reason, evidence, line if whole is None else b"")
        self.rows_out[spool.source_names[spool.sources[row]]] += 1
        self.boilerplate_only += verdict.boilerplate > 0
        signed = self._signed(row, line, whole, 0 if found is None else found.duplicates, verdict)
        return signed if self.marker is None else self.marker.line(signed, spool.numbers[row])

    def _resolution(self, group: int) -> Resolution:
        """Of one group; kept until the last of its rows has asked."""
        assert self.groups is not None
        found = self._resolved.get(group)
        if found is None:
            rows = survivor_first(self.groups.rows(group), self._rank_of if self._options.prefer == "rank" else None)
            found = resolve(rows, self._spool, merge_in_conflict=self._options.on_conflict == "first")
            self._resolved[group] = found
            self.conflicting_groups += found.conflict is not None
        found.left -= 1
        if not found.left:
            del self._resolved[group]
        return found

    def _fate(self, found: Resolution, row: int) -> Rejection | None:
        """What its duplicates mean for a row."""
        if found.conflict is not None and self._options.on_conflict == "drop":
            return Rejection("conflicting_gold", found.conflict)
        if row == found.survivor:
            return None
        merged = found.merged.get(row, 0)
        evidence = {"of": found.survivor_id, "of_where": found.where, "rollouts_merged": merged}
        return Rejection("duplicate", evidence)

    def where_kept(self, number: int) -> str:
        """The place of one of the records that stay, counted from 0; asked when all are known."""
        return self._spool.where(int(self._kept[number]))

    @cached_property
    def _kept(self) -> Any:
        import numpy as np

        return np.flatnonzero(np.frombuffer(self._gone, np.uint8) == 0)

    def take_back(self, record: Record) -> None:
        """A record that was counted as staying goes after all."""
        self.rows_out[record["data_source"]] -= 1
        self.rollouts -= len(record.get("rollouts") or ())

    def _rank_of(self, row: int) -> int:
        return rank_of_source(self._spool.source_names[self._spool.sources[row]])

    def _last_checks(self, row: int, line: bytes, whole: Record | None, verdict: Verdict) -> Rejection | None:
        """Why a row must go that no duplicate stands for: it is contaminated or can't be checked."""
        if verdict.action == "drop":
            return Rejection("contaminated", verdict.evidence or {})
        golden = self._spool.flags[row] & HAS_GOLD if whole is None else has_gold(whole)
        if golden or not self._options.require_gold:
            return None
        return answer_filter(parse_object(line) if whole is None else whole)

    def _signed(self, row: int, line: bytes, whole: Record | None, duplicates: int, verdict: Verdict) -> bytes:
        """The line with its stamp; the line as it came if the stamp is there already."""
        if whole is None:
            self.rollouts += self._spool.rollouts[row]
            if self._spool.flags[row] & SIGNABLE:
                return line[:-1] + self._ending(duplicates, verdict) + b"\n"
        else:
            self.rollouts += len(whole.get("rollouts") or ())
        before = parse_object(line)
        after = before if whole is None else whole
        signature = _signature(self._detector, duplicates + earlier_duplicates(after), verdict)
        signed = to_line({**after, "curation": {**(after.get("curation") or {}), **signature}})
        return line + b"\n" if signed == to_line(before) else signed

    def _ending(self, duplicates: int, verdict: Verdict) -> bytes:
        """See :func:`ending`; nearly all rows that come here are clean and have few duplicates."""
        if verdict is not CLEAN:
            return ending(self._detector, duplicates, verdict)
        found = self._endings.get(duplicates)
        if found is None:
            found = self._endings[duplicates] = ending(self._detector, duplicates)
        return found


def _signature(detector: Detector | None, duplicates: int, verdict: Verdict) -> dict[str, Any]:
    signature: dict[str, Any] = {"duplicates": duplicates}
    if detector is not None:
        signature["decontamination"] = detector.stamp(verdict)
    return signature


def ending(detector: Detector | None, duplicates: int = 0, verdict: Verdict = CLEAN) -> bytes:
    """What takes the place of the last bracket of a record's line."""
    return b',"curation":' + to_line(_signature(detector, duplicates, verdict))[:-1] + b"}"
