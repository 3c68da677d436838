"""The part of curation that looks at one row at a time: rows of a batch become records, filtered, keyed, looked up.

What comes of a row depends on that row alone, so batches may be of any size and be prepared in any process.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import compress, pairwise
from operator import itemgetter
from typing import Any, NamedTuple

import orjson

from klear_data.contamination import CLEAN, Detector, Problem, Verdict
from klear_data.curation.options import CurateOptions
from klear_data.dedup import key_text
from klear_data.filters import is_gold
from klear_data.jsonl import MAX_LEVELS, Batch, glance, parse_object, to_line
from klear_data.records import SCHEMA, Record, plain_columns, problem_of
from klear_data.sources import to_record
from klear_data.text import normalise_many, prompt_text

KEY_BYTES = 16
"""128 bits of blake2b: the same in every process, and no two prompts of a trillion share one."""

SIGNABLE, HAS_GOLD, NOTED, DROPPED = 1, 2, 4, 8
"""Flags of a row: its stamp can be put at the end of its line; it has a gold; something is noted; it is dropped."""

KERNELS_AFTER = 10_000
"""So many rows are normalised in plain Python before the kernels are loaded, which takes as long as these do."""

MakeDetector = Callable[[], Detector]
Note = dict[str, Any]
"""``reason`` and ``evidence`` of a row that is dropped, or the ``verdict`` of one that is suspect."""


class Rows(NamedTuple):
    """Columns, one entry a row.

    Attributes:
        numbers: of the lines in the file.
        lines: without their newline.
        records: parsed.
        prompts: what each asks.
        golds: its answer or tests.
        sources: its ``data_source``.
        flags: :data:`SIGNABLE` or not.
        rollouts: how many it brings.
        sound: all are math problems whose prompts are more than a sign; told only where it is cheap to tell.
    """

    numbers: Sequence[int]
    lines: list[bytes]
    records: list[Record]
    prompts: Sequence[str]
    golds: Sequence[str]
    sources: Sequence[str]
    flags: Sequence[int]
    rollouts: Sequence[int]
    sound: bool = False

    def where(self, own: Sequence[bool]) -> Rows:
        return Rows._make([*(list(compress(column, own)) for column in self[:-1]), self.sound])


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
    sources: Sequence[str] = field(default_factory=list)
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
        self._filters = {sound: options.row_filters(sound=sound) for sound in (False, True)}
        self._rows_seen = 0

    def __call__(self, batch: Batch) -> Prepared:
        ready = Prepared(batch.name, len(batch))
        rows = self._plain_rows(batch) or self._rows(batch, ready)
        texts, asked = self._normalised(rows.prompts)
        verdicts = self._verdicts(texts, asked, rows.records)
        if self._options.dedup_key == "latex":
            texts = [key_text(prompt, latex=True).encode("utf-8", "surrogatepass") for prompt in rows.prompts]
        keys = [blake2b(text, digest_size=KEY_BYTES).digest() for text in texts]
        ready.suspects = [(keys[position], verdict) for position, verdict in verdicts.items() if verdict.findings]
        shard = self._options.shard
        if shard is not None:
            ready.all_keys = b"".join(keys)
            own = [shard.owns(int.from_bytes(key[:8], "little")) for key in keys]
            ready.foreign += own.count(False)
            rows, keys = rows.where(own), list(compress(keys, own))
            positions = compress(range(len(own)), own)
            verdicts = {new: verdicts[old] for new, old in enumerate(positions) if old in verdicts}
        ready.numbers.extend(rows.numbers)
        ready.lines = rows.lines
        ready.keys += b"".join(keys)
        ready.sources = rows.sources
        ready.rollouts.extend(rows.rollouts)
        self._judge(ready, rows, verdicts)
        return ready

    def _normalised(self, prompts: Sequence[str]) -> tuple[list[bytes], Sequence[int]]:
        """Prompts after normalising, in UTF-8; and the positions of those that the detector must look at."""
        self._rows_seen += len(prompts)
        everyone = range(len(prompts))
        if self._rows_seen <= KERNELS_AFTER:
            return [text.encode("utf-8", "surrogatepass") for text in normalise_many(prompts)], everyone
        from klear_data.curation import kernels

        data, ends = kernels.fold(prompts)
        asked = everyone if self._detector is None else self._detector.candidates(data, ends)
        return [data[start:end] for start, end in pairwise([0, *ends.tolist()])], asked

    def _plain_rows(self, batch: Batch) -> Rows | None:
        """The rows of a batch in which every line is a record of the usual keys; ``None`` for any other batch."""
        lines = batch.texts()
        try:
            records = list(map(orjson.loads, lines))
        except orjson.JSONDecodeError:
            return None
        plain = plain_columns(records)
        if plain is None or set(map(itemgetter(-1), lines)) != {ord("}")} or _is_deep(lines, plain.extras):
            return None
        flags, rollouts = bytes([SIGNABLE]) * len(lines), bytes(len(lines))
        sound = plain.abilities == {"math"} and min(map(len, map(str.strip, plain.prompts))) > 1
        return Rows(batch.numbers, lines, records, *plain[:3], flags, rollouts, sound)

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
        return Rows(
            numbers,
            lines,
            records,
            prompts=[prompt_text(record["prompt"]) for record in records],
            golds=[record["reward_model"]["ground_truth"] for record in records],
            sources=[record["data_source"] for record in records],
            flags=[0 if "curation" in record else SIGNABLE for record in records],
            rollouts=[len(record.get("rollouts") or ()) for record in records],
        )

    def _verdicts(self, texts: list[bytes], asked: Sequence[int], records: list[Record]) -> dict[int, Verdict]:
        """By position, where they are not clean."""
        if self._detector is None:
            return {}
        problems = [Problem(texts[position].decode("utf-8", "surrogatepass"), records[position]) for position in asked]
        verdicts = zip(asked, self._detector.lookup_many(problems), strict=True)
        return {position: verdict for position, verdict in verdicts if verdict is not CLEAN}

    def _judge(self, ready: Prepared, rows: Rows, verdicts: dict[int, Verdict]) -> None:
        """Flags and notes of this run's rows."""
        records = rows.records
        flags = [
            flag | HAS_GOLD if golden else flag
            for flag, golden in zip(rows.flags, map(is_gold, rows.golds), strict=True)
        ]
        for position, verdict in verdicts.items():
            ready.notes[position] = {"verdict": verdict}
            flags[position] |= NOTED
        positions, left = list(range(len(records))), records
        for check in self._filters[rows.sound]:
            found = list(map(check, left))
            if not any(found):
                continue
            for position, rejection in zip(positions, found, strict=True):
                if rejection is not None:
                    ready.notes[position] = {"reason": rejection.reason, "evidence": rejection.evidence}
                    flags[position] |= NOTED | DROPPED
            positions = [position for position in positions if not flags[position] & DROPPED]
            left = [records[position] for position in positions]
        ready.flags += bytes(flags)


def _is_deep(lines: list[bytes], extras: int) -> bool:
    """Whether one of these plain records may be nested deeper than is allowed; told from all lines together.

    Each has its own brackets and those of its prompt, its message, its reward model, and ``extras`` of them those of
    ``extra_info``. Only where all brackets of a line besides these could be too many are lines counted one by one.
    """
    data = b"".join(lines)
    more = data.count(b"{") + data.count(b"[") - 4 * len(lines) - extras
    return more > MAX_LEVELS - 5 and any(line.count(b"{") + line.count(b"[") > MAX_LEVELS for line in lines)
