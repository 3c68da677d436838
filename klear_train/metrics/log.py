"""``metrics.jsonl``: what a run tells, a JSON object a line."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

Row = dict[str, Any]


class StepLog:
    """Appends JSON objects with a ``step``; a resumed run first drops those after its checkpoint."""

    def __init__(self, path: Path, *, resumed_step: int | None = None) -> None:
        kept = []
        if resumed_step is not None and path.is_file():
            rows = (_parsed(line) for line in path.read_text(encoding="utf-8").splitlines())
            kept = [row for row in rows if row is not None and row["step"] <= resumed_step]
        # Beside and renamed: a kill in the middle must not lose the lines that are kept.
        half = path.with_name(f".writing_{path.name}")
        self._file = half.open("w", encoding="utf-8")
        for row in kept:
            self._put(row)
        self._file.flush()
        half.replace(path)

    def write(self, row: Row) -> None:
        self._put(row)
        self._file.flush()

    def _put(self, row: Row) -> None:
        # JSON has no NaN: what is no number is null, so that every reader can read the file.
        clean = {key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in row.items()}
        self._file.write(json.dumps(clean, ensure_ascii=False) + "\n")


def _parsed(line: str) -> Row | None:
    """A row, None for a last line that a kill cut off."""
    try:
        row: Row = json.loads(line)
    except json.JSONDecodeError:
        return None
    return row
