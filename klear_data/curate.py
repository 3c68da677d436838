"""The stage ``klear curate``: raw rows in; problems that are whole, unique and in no benchmark out.

In this order: adapt each row to the record, filter it alone, find duplicates by exact match, look the
survivors up in the benchmarks, and last ask for a gold (a survivor may get it from a duplicate).

What a duplicate brings is known only at the end of the input, so rows wait in a temporary file and are
written in a second pass, in the order they came. In memory stay a few numbers a row.
"""

from __future__ import annotations

import tempfile
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from klear_data.decontaminate import CLEAN, Benchmarks, Verdict
from klear_data.dedup import Group, gold_of, join, merged
from klear_data.errors import RecordError, UsageError
from klear_data.filters import (
    Filter,
    Rejection,
    ability_filter,
    answer_filter,
    gold_filter,
    prompt_filter,
    suite_filter,
)
from klear_data.jsonl import BadLine, as_json, parse_object, to_line
from klear_data.records import Ability, Record
from klear_data.sources import to_record
from klear_data.stage import Drop
from klear_data.text import normalise, prompt_text

Rows = Iterable[tuple[str, Record]]
OnBad = Callable[[BadLine], None]


@dataclass(frozen=True)
class CurateOptions:
    """What to do with the rows.

    Attributes:
        dedup: ``exact`` removes prompts that are equal after normalising, ``none`` keeps them.
        benchmarks: what to decontaminate against, ``None`` for nothing.
        min_tests: code problems with fewer tests go.
        check_gold: golds of math problems must parse and verify against themselves.
        require_gold: problems without an answer or tests go.
        ability: what a problem is where its row does not say it.
    """

    dedup: Literal["exact", "none"] = "exact"
    benchmarks: Benchmarks | None = None
    min_tests: int = 1
    check_gold: bool = True
    require_gold: bool = True
    ability: Ability | None = None


class Curation:
    """One run of the stage: call :meth:`run` once, then :meth:`notes`.

    Args:
        options: what to do.
        on_bad: takes a row that fits no schema (to set it aside); by default it stops the run.
    """

    def __init__(self, options: CurateOptions, *, on_bad: OnBad | None = None) -> None:
        self.options = options
        self._on_bad = on_bad or _stop
        self._filters = _row_filters(options)
        self._rows_in: Counter[str] = Counter()
        self._rows_out: Counter[str] = Counter()
        self._rollouts_out = 0
        self._duplicate_groups = 0
        self._conflicting_groups = 0
        self._only_boilerplate = 0

    def run(self, rows: Rows) -> Iterator[Record | Drop]:
        """What becomes of each row; the records that stay come in the order of the input.

        Args:
            rows: ``(where, row)``, where as ``FILE:LINE``.

        Raises:
            RecordError: a row fits no schema, and there is no ``on_bad``.
        """
        if self.options.dedup == "none":
            for item in self._single_rows(rows):
                yield item if isinstance(item, Drop) else self._decide(item.record, item.where, self._verdict(item))
        else:
            yield from self._unique_rows(rows)

    def notes(self) -> dict[str, Any]:
        """Further counts for the report and the closing table."""
        sources = {name: {"in": count, "out": self._rows_out[name]} for name, count in self._rows_in.items()}
        notes: dict[str, Any] = {"sources": sources, "rollouts": self._rollouts_out}
        if self.options.dedup != "none":
            notes["duplicate_groups"] = self._duplicate_groups
            notes["conflicting_groups"] = self._conflicting_groups
        if self.options.benchmarks is not None:
            notes["decontamination"] = self.options.benchmarks.notes()
            notes["kept_with_boilerplate_only"] = self._only_boilerplate
        return notes

    def _single_rows(self, rows: Rows) -> Iterator[_Row | Drop]:
        """Rows as records that pass every filter of single records; the others as drops."""
        for where, raw in rows:
            try:
                record = to_record(raw, where, ability=self.options.ability)
            except ValueError as error:
                self._on_bad(BadLine(where, str(error), to_line(as_json(raw)).rstrip(b"\n")))
                continue
            self._rows_in[record["data_source"]] += 1
            rejection = next((found for check in self._filters if (found := check(record)) is not None), None)
            if rejection is not None:
                yield _drop(record, where, rejection)
            else:
                yield _Row(where, record, normalise(prompt_text(record["prompt"])))

    def _unique_rows(self, rows: Rows) -> Iterator[Record | Drop]:
        with _Spool() as spool:
            first_rows: dict[int, int] = {}
            groups: dict[int, Group] = {}
            verdicts: dict[int, Verdict] = {}
            for item in self._single_rows(rows):
                if isinstance(item, Drop):
                    yield item
                    continue
                number = spool.add(item.where, item.record, item.key)
                first = first_rows.setdefault(item.key, number)
                if first != number:
                    _join_group(groups, first, number, item, spool)
                elif (verdict := self._verdict(item)) is not CLEAN:
                    verdicts[item.key] = verdict
            for number, key in enumerate(spool.keys):
                yield self._close(number, spool, groups.get(key), verdicts.get(key, CLEAN))

    def _close(self, number: int, spool: _Spool, group: Group | None, verdict: Verdict) -> Record | Drop:
        """Second pass: what becomes of one row, now that its whole group is known."""
        where, record = spool.read(number)
        if group is None:
            return self._decide(record, where, verdict)
        survives = number == group.rows[0]
        self._duplicate_groups += survives
        if group.conflict is not None:
            self._conflicting_groups += survives
            return _drop(record, where, Rejection("conflicting_gold", group.conflict))
        if not survives:
            survivor_where, survivor = spool.read(group.rows[0])
            rollouts = len(record.get("rollouts") or ()) if number in group.merge_rows else 0
            evidence = {"of": survivor["id"], "of_where": survivor_where, "rollouts_merged": rollouts}
            return _drop(record, where, Rejection("duplicate", evidence))
        others = group.rows[1:]
        duplicates = len(others) + sum(_duplicates(spool.read(other)[1]) for other in others)
        whole = merged(record, (spool.read(other)[1] for other in others if other in group.merge_rows))
        return self._decide(whole, where, verdict, duplicates=duplicates)

    def _verdict(self, item: _Row) -> Verdict:
        benchmarks = self.options.benchmarks
        return CLEAN if benchmarks is None else benchmarks.lookup(item.normalised)

    def _decide(self, record: Record, where: str, verdict: Verdict, *, duplicates: int = 0) -> Record | Drop:
        """Drop a record that is contaminated or can't be checked; sign the others."""
        if verdict.evidence is not None:
            return _drop(record, where, Rejection("contaminated", verdict.evidence))
        rejection = answer_filter(record) if self.options.require_gold else None
        if rejection is not None:
            return _drop(record, where, rejection)
        signed = {**(record.get("curation") or {}), "duplicates": duplicates + _duplicates(record)}
        if self.options.benchmarks is not None:
            signed["decontamination"] = self.options.benchmarks.stamp(verdict)
            self._only_boilerplate += verdict.boilerplate > 0
        self._rows_out[record["data_source"]] += 1
        self._rollouts_out += len(record.get("rollouts") or ())
        return {**record, "curation": signed}


@dataclass(frozen=True)
class _Row:
    where: str
    record: Record
    normalised: str

    @property
    def key(self) -> int:
        """64 bits: of a million prompts two collide once in 40 million runs."""
        return hash(self.normalised)


class _Spool:
    """Records waiting in a temporary file: appended, then read by their number."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  (closed in __exit__)
        self._offsets = array("q", [0])
        self.keys = array("q")

    def __len__(self) -> int:
        return len(self.keys)

    def __enter__(self) -> _Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, where: str, record: Record, key: int) -> int:
        """Append a record and return its number."""
        line = to_line({"where": where, "record": record})
        try:
            self._file.seek(self._offsets[-1])
            self._file.write(line)
        except OSError as error:
            raise UsageError(
                f"{tempfile.gettempdir()}: can't be written ({error.strerror}); expected room for a copy of the "
                f"input while it is curated; set TMPDIR to a folder on a larger disk"
            ) from None
        self._offsets.append(self._offsets[-1] + len(line))
        self.keys.append(key)
        return len(self.keys) - 1

    def read(self, number: int) -> tuple[str, Record]:
        start, end = self._offsets[number], self._offsets[number + 1]
        self._file.seek(start)
        entry = parse_object(self._file.read(end - start))
        return entry["where"], entry["record"]


def _join_group(groups: dict[int, Group], first: int, number: int, item: _Row, spool: _Spool) -> None:
    """Put a row that repeats an earlier prompt into that prompt's group, made for the second row of it."""
    group = groups.get(item.key)
    if group is None:
        group = groups[item.key] = Group([first], first if gold_of(spool.read(first)[1]) else None)
    reference_where, reference = spool.read(group.reference_row)
    join(group, number, item.record, where=item.where, reference=reference, reference_where=reference_where)


def _row_filters(options: CurateOptions) -> list[Filter]:
    filters: list[Filter] = [prompt_filter, ability_filter]
    if options.check_gold:
        filters.append(gold_filter)
    return [*filters, partial(suite_filter, min_tests=options.min_tests)]


def _drop(record: Record, where: str, rejection: Rejection) -> Drop:
    return Drop(record, rejection.reason, {"where": where, **rejection.evidence})


def _duplicates(record: Record) -> int:
    """How many duplicates an earlier run of this stage counted."""
    earlier = (record.get("curation") or {}).get("duplicates", 0)
    return earlier if isinstance(earlier, int) else 0


def _stop(bad: BadLine) -> None:
    raise RecordError(f"{bad.where}: {bad.problem}")
