"""Benchmark items from files of any schema that curation reads."""

from __future__ import annotations

from pathlib import Path

from klear_data.contamination.types import Item
from klear_data.errors import RecordError
from klear_data.jsonl import BadLine, Source
from klear_data.records import Record
from klear_data.sources import to_record
from klear_data.text import prompt_text


def read_benchmark(path: str) -> list[Item]:
    """The problems of a benchmark file, in any schema that curation reads; answers are not needed.

    Raises:
        RecordError: a line that can't be read, an item without text, or no item at all: decontaminating
            against less than was asked for is an error.
    """
    items: list[Item] = []
    source = Source(path)
    try:
        for row in source:
            if isinstance(row, BadLine):
                raise RecordError(f"{row.where}: {row.problem}; mend the benchmark file")
            where, raw = row
            try:
                record = to_record(raw, where, ability="math")
            except ValueError as error:
                raise RecordError(f"{where}: {error}") from None
            text = prompt_text(record["prompt"])
            refuse_wordless(text, where)
            items.append(Item(Path(path).name, where, _name(record), text, record))
    finally:
        source.close()
    if not items:
        raise RecordError(f"{path}: no benchmark items in it; expected at least one problem; check the file")
    return items


def refuse_wordless(text: str, where: str) -> None:
    """Raise RecordError for an item with nothing to compare, such as ``-``."""
    if not any(map(str.isalnum, text)):
        what = f"a problem of signs alone, {text.strip()!r}" if text.strip() else "an empty problem"
        raise RecordError(f"{where}: {what}; expected a benchmark item, with words or numbers; mend the benchmark file")


def _name(record: Record) -> str | None:
    extra = record.get("extra_info") or {}
    meta = extra.get("meta")
    for found in (extra, meta if isinstance(meta, dict) else {}):
        for key in ("task_id", "unique_id", "id"):
            if found.get(key) is not None:
                return str(found[key])
    return None
