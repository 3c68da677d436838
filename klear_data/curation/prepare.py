"""The part of curation that looks at one row at a time: rows of a batch become records, filtered, keyed, looked up.

What comes of a row depends on that row alone, so batches may be of any size and be prepared in any process.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import compress
from operator import itemgetter
from typing import Any

import orjson

from klear_data.contamination import CLEAN, Detector, Problem, Verdict
from klear_data.curation.options import CurateOptions
from klear_data.dedup import key_text
from klear_data.filters import has_gold
from klear_data.jsonl import MAX_LEVELS, Batch, glance, parse_object, to_line
from klear_data.records import SCHEMA, Record, plain_prompts, problem_of
from klear_data.sources import to_record
from klear_data.text import normalise_many, prompt_text

KEY_BYTES = 16
"""128 bits of blake2b: the same in every process, and no two prompts of a trillion share one."""

SIGNABLE, HAS_GOLD, NOTED, DROPPED = 1, 2, 4, 8
"""Flags of a row: its stamp can be put at the end of its line; it has a gold; something is noted; it is dropped."""

Rows = tuple[Sequence[int], list[bytes], list[Record], list[str]]
"""Numbers, lines without their newline, records and prompts, one entry a row."""

MakeDetector = Callable[[], Detector]
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
    flags: bytearray = field(default_factory=bytearray)
    sources: list[str] = field(default_factory=list)
    rollouts: array[int] = field(default_factory=lambda: array("I"))
    notes: dict[int, Note] = field(default_factory=dict)
    bad: list[tuple[int, str, bytes]] = field(default_factory=list)
    suspects: list[tuple[bytes, Verdict]] = field(default_factory=list)
    all_keys: bytes = b""


class Preparer:
    """Prepares batches; built once a process.

    Args:
        options: what to do.
        detector: looks prompts up in the benchmarks, ``None`` for no decontamination.
    """

    def __init__(self, options: CurateOptions, detector: Detector | None) -> None:
        self._options = options
        self._detector = detector
        self._filters = options.row_filters()

    def __call__(self, batch: Batch) -> Prepared:
        ready = Prepared(batch.name, len(batch))
        numbers, lines, records, texts = self._plain_rows(batch) or self._rows(batch, ready)
        prompts, texts = texts, normalise_many(texts)
        keyed = [key_text(text, latex=True) for text in prompts] if self._options.dedup_key == "latex" else texts
        keys = [blake2b(text.encode("utf-8", "surrogatepass"), digest_size=KEY_BYTES).digest() for text in keyed]
        verdicts = self._verdicts(texts, records)
        ready.suspects = [(key, verdict) for key, verdict in zip(keys, verdicts, strict=True) if verdict.findings]
        shard = self._options.shard
        if shard is not None:
            ready.all_keys = b"".join(keys)
            own = [shard.owns(int.from_bytes(key[:8], "little")) for key in keys]
            ready.foreign += own.count(False)
            numbers, lines = list(compress(numbers, own)), list(compress(lines, own))
            records, keys = list(compress(records, own)), list(compress(keys, own))
            verdicts = list(compress(verdicts, own))
        ready.numbers.extend(numbers)
        ready.lines = lines
        ready.keys += b"".join(keys)
        ready.sources = [record["data_source"] for record in records]
        ready.rollouts.extend([len(record.get("rollouts") or ()) for record in records])
        self._judge(ready, records, verdicts)
        return ready

    def _plain_rows(self, batch: Batch) -> Rows | None:
        """The rows of a batch in which every line is a record of the usual keys; ``None`` for any other batch."""
        lines = batch.texts()
        try:
            records = list(map(orjson.loads, lines))
        except orjson.JSONDecodeError:
            return None
        texts = plain_prompts(records)
        if texts is None or set(map(itemgetter(-1), lines)) != {ord("}")} or _is_deep(lines, records):
            return None
        return batch.numbers, lines, records, texts

    def _rows(self, batch: Batch, ready: Prepared) -> Rows:
        """The rows of any batch that fit a schema, one by one; the others are put with the bad lines."""
        numbers, lines, records = list[int](), list[bytes](), list[Record]()
        shard = self._options.shard
        for position, (number, line) in enumerate(zip(batch.numbers, batch.texts(), strict=True)):
            try:
                record = glance(line)
                if record.get("schema") != SCHEMA or problem_of(record) or record.get("data_source") is None:
                    record = to_record(parse_object(line), f"{batch.name}:{number}", ability=self._options.ability)
                    line = to_line(record)
            except ValueError as error:
                if shard is None or shard.owns(number):
                    ready.bad.append((number, str(error), batch.lines[position]))
                else:
                    ready.foreign += 1
                continue
            numbers.append(number)
            lines.append(line.rstrip())
            records.append(record)
        return numbers, lines, records, [prompt_text(record["prompt"]) for record in records]

    def _verdicts(self, texts: list[str], records: list[Record]) -> list[Verdict]:
        if self._detector is None:
            return [CLEAN] * len(texts)
        return self._detector.lookup_many(list(map(Problem._make, zip(texts, records, strict=True))))

    def _judge(self, ready: Prepared, records: list[Record], verdicts: list[Verdict]) -> None:
        """Flags and notes of this run's rows."""
        flags = [HAS_GOLD if golden else 0 for golden in map(has_gold, records)]
        for position, record in enumerate(records):
            if "curation" not in record:
                flags[position] |= SIGNABLE
        for position, verdict in enumerate(verdicts):
            if verdict is not CLEAN:
                ready.notes[position] = {"verdict": verdict}
                flags[position] |= NOTED
        positions, left = list(range(len(records))), records
        for check in self._filters:
            found = list(map(check, left))
            for position, rejection in zip(positions, found, strict=True):
                if rejection is not None:
                    ready.notes[position] = {"reason": rejection.reason, "evidence": rejection.evidence}
                    flags[position] |= NOTED | DROPPED
            if any(found):
                positions = [position for position in positions if not flags[position] & DROPPED]
                left = [records[position] for position in positions]
        ready.flags += bytes(flags)


def _is_deep(lines: list[bytes], records: list[Record]) -> bool:
    """Whether one of these plain records may be nested deeper than is allowed; told from all lines together.

    Each has its own brackets and those of its prompt, its message, its reward model, and its ``extra_info`` if it
    has one. Only where all brackets of a line besides these could be too many are the lines counted one by one.
    """
    data = b"".join(lines)
    extras = sum(isinstance(record.get("extra_info"), dict) for record in records)
    more = data.count(b"{") + data.count(b"[") - 4 * len(lines) - extras
    return more > MAX_LEVELS - 5 and any(line.count(b"{") + line.count(b"[") > MAX_LEVELS for line in lines)
