"""The stage ``klear curate``: raw rows in; problems that are whole, unique and in no benchmark out.

Each row is adapted to the record, looked up in the benchmarks and filtered alone (:mod:`prepare`, in worker
processes where there is much to do); then duplicates are found by exact match, and last a problem must have a
gold (a survivor may get it from a duplicate).

What a duplicate brings, and which n-grams are frequent in the data, is known only at the end of the input, so
rows wait in a file and are written in a second pass, in the order they came.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict
from hashlib import blake2b
from typing import Any

import orjson

from klear_data.contamination import Verdict
from klear_data.curation.closing import Closing, Outcomes
from klear_data.curation.groups import group_rows
from klear_data.curation.journal import Journal
from klear_data.curation.near import NearFilter
from klear_data.curation.options import CurateOptions
from klear_data.curation.prepare import MakeDetector
from klear_data.curation.prepared import Prepared
from klear_data.curation.shards import Marker
from klear_data.curation.spool import Spool
from klear_data.curation.workers import prepare_all
from klear_data.errors import RecordError
from klear_data.jsonl import BadLine, Batch

OnBad = Callable[[BadLine], None]


class Curation:
    """One run of the stage: call :meth:`run` once, then :meth:`notes`.

    Args:
        options: what to do.
        make_detector: builds the detector, here and in each worker; ``None`` for no decontamination.
        jobs: worker processes; 1 is none, this process does the work.
        journal: keeps what is done, so that a later run goes on after it.
        on_bad: takes a row that fits no schema (to set it aside); by default it stops the run.

    Attributes:
        foreign: rows read that belong to other shards.
    """

    def __init__(
        self,
        options: CurateOptions,
        *,
        make_detector: MakeDetector | None = None,
        jobs: int = 1,
        journal: Journal | None = None,
        on_bad: OnBad | None = None,
    ) -> None:
        self.options = options
        self.foreign = 0
        self._make_detector = make_detector
        self._detector = None if make_detector is None else make_detector()
        self._jobs = jobs
        self._on_bad = on_bad or _stop
        self._rows_in: Counter[str] = Counter()
        self._suspects: dict[bytes, Verdict] = {}
        self._keys_read = blake2b(digest_size=16)
        self._journal = journal
        self._spool = Spool(None if journal is None else journal.lines)
        self._closing = Closing(options, self._detector, self._spool)
        self._near = None if options.dedup != "near" else NearFilter(options.near_threshold, self._closing.take_back)

    def run(self, batches: Iterable[Batch]) -> Outcomes:
        """What becomes of each row; the records that stay come in the order of the input.

        Raises:
            RecordError: a row fits no schema, and there is no ``on_bad``.
        """
        options, detector, closing = self.options, self._detector, self._closing
        with self._spool as spool:
            if options.dedup == "none" and options.shard is None and self._journal is None:
                for ready in self._prepared(batches):
                    self._receive(ready)
                    spool.add(ready)
                    yield from closing.run()
                    spool.clear()
                return
            self._read_all(batches)
            if options.dedup != "none":
                closing.groups = group_rows(spool.keys, spool.flags)
                if detector is not None:
                    detector.count(self._suspects.values())
            if options.shard is not None:
                closing.marker = Marker(self._run_id(), options.shard)
            outcomes = closing.run()
            yield from outcomes if self._near is None else self._near.run(outcomes, closing.where_kept)

    def notes(self) -> dict[str, Any]:
        """Further counts for the report and the closing table."""
        closing = self._closing
        sources = {name: {"in": count, "out": closing.rows_out[name]} for name, count in self._rows_in.items()}
        notes: dict[str, Any] = {"sources": sources, "rollouts": closing.rollouts}
        if self.options.dedup != "none":
            notes["duplicate_groups"] = len(closing.groups or ())
            notes["conflicting_groups"] = closing.conflicting_groups
        if self._near is not None:
            notes["near_duplicates"] = self._near.notes()
        if self._detector is not None:
            notes["decontamination"] = self._detector.notes()
            notes["kept_with_boilerplate_only"] = closing.boilerplate_only
        if self.options.shard is not None:
            notes["rows_of_other_shards"] = self.foreign
        return notes

    def _prepared(self, batches: Iterable[Batch]) -> Iterable[Prepared]:
        return prepare_all(
            batches, self.options, detector=self._detector, make_detector=self._make_detector, jobs=self._jobs
        )

    def _read_all(self, batches: Iterable[Batch]) -> None:
        """The first pass."""
        spool, journal = self._spool, self._journal
        if journal is not None:
            for ready, lengths in journal.earlier():
                self._receive(ready)
                spool.add_numbers(ready, lengths)
            batches = journal.rest(batches)
        for ready in self._prepared(batches):
            self._receive(ready)
            lengths = spool.add(ready)
            if journal is not None:
                journal.add(ready, lengths)

    def _receive(self, ready: Prepared) -> None:
        for number, problem, raw in ready.bad:
            self._on_bad(BadLine(f"{ready.name}:{number}", problem, raw))
        self.foreign += ready.foreign
        self._rows_in.update(ready.sources)
        self._suspects.update(ready.suspects)
        self._keys_read.update(ready.all_keys)

    def _run_id(self) -> str:
        """The same for all shards of one run: of the options, the benchmarks and every row's key."""
        detection = None if self._detector is None else self._detector.notes()
        settings = orjson.dumps([{**asdict(self.options), "shard": None}, detection], option=orjson.OPT_SORT_KEYS)
        return blake2b(settings + self._keys_read.digest(), digest_size=8).hexdigest()


def _stop(bad: BadLine) -> None:
    raise RecordError(f"{bad.where}: {bad.problem}")
