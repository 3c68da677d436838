"""The second pass of curation: what becomes of each row, now that all others are known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from klear_data.contamination import CLEAN, Detector, Verdict
from klear_data.curation.groups import ALONE, Groups, Resolution, earlier_duplicates, resolve
from klear_data.curation.options import CurateOptions
from klear_data.curation.prepared import HAS_GOLD, NOTED, SIGNABLE
from klear_data.curation.shards import Marker
from klear_data.curation.spool import Spool
from klear_data.dedup import survivor_first
from klear_data.filters import Rejection, answer_filter, has_gold
from klear_data.jsonl import parse_object, to_line
from klear_data.records import Record
from klear_data.sources.catalog import rank_of_source
from klear_data.stage import Drop, Lines

Outcomes = Iterator[Lines | Drop]


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
        self._endings: dict[int, bytes] = {}
        self.groups: Groups | None = None
        self.marker: Marker | None = None
        self.rows_out: Counter[str] = Counter()
        self.rollouts = 0
        self.boilerplate_only = 0
        self.conflicting_groups = 0

    def run(self) -> Outcomes:
        """The outcomes of all rows of the spool, in order.

        Rows that need no more than they have are copied in runs; the others are looked at one by one.
        """
        spool = self._spool
        signed = self._ending(0, CLEAN) + b"\n"
        for name, first, end in spool.batches():
            if self.marker is not None:
                self.marker.see(name)
            entries, base = spool.read(first, end), spool.offsets[first]
            out: list[bytes] = []
            copied = 0
            for row in self._special_rows(first, end):
                start, after = spool.offsets[row] - base, spool.offsets[row + 1] - base
                out.append(entries[copied:start].replace(b"}\n", signed))
                copied = after
                outcome = self._row(row, entries[start:after], name)
                if isinstance(outcome, Drop):
                    yield outcome
                else:
                    out.append(outcome)
            out.append(entries[copied:].replace(b"}\n", signed))
            kept = b"".join(out)
            yield Lines(kept, kept.count(b"\n"))

    def _special_rows(self, first: int, end: int) -> list[int]:
        """The rows for which it is not enough to be copied; the others are counted here."""
        import numpy as np

        # A row with exactly these flags, alone in its group, is clean and gets the stamp that most rows get.
        wanted = SIGNABLE | (HAS_GOLD if self._options.require_gold else 0)
        plain = np.frombuffer(self._spool.flags[first:end], np.uint8) & (wanted | NOTED) == wanted
        if self.groups is not None:
            plain &= self.groups.of_row[first:end] == ALONE
        if self.marker is not None:
            plain[:] = False
        self.rollouts += int(np.array(self._spool.rollouts[first:end])[plain].sum())
        counts = np.bincount(np.array(self._spool.sources[first:end])[plain])
        self.rows_out.update(dict(zip(self._spool.source_names, counts.tolist(), strict=False)))
        special: list[int] = (np.flatnonzero(~plain) + first).tolist()
        return special

    def _row(self, row: int, entry: bytes, name: str) -> bytes | Drop:
        """The line of a row that stays, or why it does not."""
        spool = self._spool
        line, note = spool.line(row, entry), spool.note(row, entry)
        found = None
        if "reason" in note:
            rejection: Rejection | None = Rejection(note["reason"], note["evidence"])
        else:
            group = ALONE if self.groups is None else int(self.groups.of_row[row])
            found = None if group == ALONE else self._resolution(group, row, line)
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

    def _resolution(self, group: int, row: int, line: bytes) -> Resolution:
        """Of one group; kept until the last of its rows has asked."""
        assert self.groups is not None
        found = self._resolved.get(group)
        if found is None:
            rows = survivor_first(self.groups.rows(group), self._rank_of if self._options.prefer == "rank" else None)
            at_hand = line if row == rows[0] else None
            merge_in_conflict = self._options.on_conflict == "first"
            found = resolve(rows, self._spool, survivor=at_hand, merge_in_conflict=merge_in_conflict)
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
