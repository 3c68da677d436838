"""The part of curation that looks at one row at a time: rows of a batch become records, filtered, keyed, looked up.

What comes of a row depends on that row alone, so batches may be of any size and be prepared in any process.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from itertools import compress
from typing import Any

from klear_data.contamination import CLEAN, Detector, Problem, Verdict
from klear_data.curation.columns import Parsed, Rows, folded, joined, normalised, plain_parsed, scanned
from klear_data.curation.options import CurateOptions
from klear_data.curation.prepared import DROPPED, KEY_BYTES, NOTED, Prepared
from klear_data.dedup import key_text
from klear_data.jsonl import Batch, glance, parse_object, to_line
from klear_data.records import SCHEMA, Record, problem_of
from klear_data.sources import to_record
from klear_data.text import prompt_text

KERNELS_AFTER = 5_000
"""So many rows are looked at in plain Python before the kernels are loaded, which takes as long as these do."""

MakeDetector = Callable[[], Detector]


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
        rows = self._rows(batch, ready)
        verdicts = self._verdicts(rows)
        texts = rows.texts
        if self._options.dedup_key == "latex":
            prompts = (prompt_text(rows.record(position)["prompt"]) for position in range(len(texts)))
            texts = [key_text(prompt, latex=True).encode("utf-8", "surrogatepass") for prompt in prompts]
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
        ready.numbers.fromlist(rows.numbers)
        ready.lines = rows.lines
        ready.keys += b"".join(keys)
        ready.golds.fromlist(rows.golds)
        ready.sources = rows.sources
        ready.rollouts.fromlist(rows.rollouts)
        self._judge(ready, rows, verdicts)
        return ready

    def _rows(self, batch: Batch, ready: Prepared) -> Rows:
        """The rows of a batch that fit a schema; the others are put with the bad lines."""
        self._rows_seen += len(batch)
        if self._rows_seen <= KERNELS_AFTER:
            return normalised(plain_parsed(batch) or self._parsed(batch, ready))
        rows, left = scanned(batch, self._candidates)
        if not left.lines:
            return rows
        return joined(rows, folded(plain_parsed(left) or self._parsed(left, ready), self._candidates))

    def _candidates(self, data: bytes, ends: Any) -> Sequence[int]:
        return () if self._detector is None else self._detector.candidates(data, ends)

    def _parsed(self, batch: Batch, ready: Prepared) -> Parsed:
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
        return Parsed(
            numbers,
            lines,
            records,
            prompts=[prompt_text(record["prompt"]) for record in records],
            golds=[record["reward_model"]["ground_truth"] for record in records],
            sources=[record["data_source"] for record in records],
            signable=["curation" not in record for record in records],
            rollouts=[len(record.get("rollouts") or ()) for record in records],
        )

    def _verdicts(self, rows: Rows) -> dict[int, Verdict]:
        """By position, where they are not clean."""
        if self._detector is None:
            return {}
        asked = list(compress(range(len(rows.asked)), rows.asked))
        problems = [Problem(rows.texts[at].decode("utf-8", "surrogatepass"), rows.record(at)) for at in asked]
        verdicts = zip(asked, self._detector.lookup_many(problems), strict=True)
        return {position: verdict for position, verdict in verdicts if verdict is not CLEAN}

    def _judge(self, ready: Prepared, rows: Rows, verdicts: dict[int, Verdict]) -> None:
        """Flags and notes of this run's rows."""
        flags = rows.flags
        for position, verdict in verdicts.items():
            ready.notes[position] = {"verdict": verdict}
            flags[position] |= NOTED
        filters = self._filters[rows.sound]
        positions = list(range(len(flags)))
        left = list(map(rows.record, positions)) if filters else []
        for check in filters:
            found = list(map(check, left))
            if not any(found):
                continue
            for position, rejection in zip(positions, found, strict=True):
                if rejection is not None:
                    ready.notes[position] = {"reason": rejection.reason, "evidence": rejection.evidence}
                    flags[position] |= NOTED | DROPPED
            kept = [not flags[position] & DROPPED for position in positions]
            positions, left = list(compress(positions, kept)), list(compress(left, kept))
        ready.flags += bytes(flags)
