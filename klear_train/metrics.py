"""What a run tells: JSON lines on disk, and one live line on the terminal."""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path
from typing import Any, TextIO

Row = dict[str, Any]


class StepLog:
    """Appends JSON objects with a ``step``; a resumed run first drops those after its checkpoint."""

    def __init__(self, path: Path, *, resumed_step: int | None = None) -> None:
        kept = []
        if resumed_step is not None and path.is_file():
            rows = (_parsed(line) for line in path.read_text(encoding="utf-8").splitlines())
            kept = [row for row in rows if row is not None and row["step"] <= resumed_step]
        self._file = path.open("w", encoding="utf-8")
        for row in kept:
            self._put(row)

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


class LiveLine:
    """Step, chosen figures and the time left: rewritten in place on a terminal, else a line every while."""

    def __init__(
        self, total_steps: int, *, stream: TextIO | None = None, every_s: float = 10.0, quiet: bool = False
    ) -> None:
        self.total, self.stream = total_steps, stream or sys.stderr
        self.every_s = 0.2 if self.stream.isatty() else every_s
        self.quiet = quiet
        self.began, self.first_step, self.shown = time.monotonic(), None, -math.inf

    def update(self, step: int, figures: dict[str, float], *, last: bool = False) -> None:
        now = time.monotonic()
        if self.first_step is None:
            self.first_step = step - 1
        if self.quiet or (now - self.shown < self.every_s and not last):
            return
        self.shown = now
        rate = (step - self.first_step) / max(now - self.began, 1e-9)
        left_s = (self.total - step) / rate
        text = f"step {step}/{self.total}  " + "  ".join(f"{key} {value:.4g}" for key, value in figures.items())
        text += f"  {rate:.2g} steps/s  {left_s // 60:.0f}m{left_s % 60:02.0f}s left"
        if self.stream.isatty():
            self.stream.write(f"\r\x1b[2K{text}" + ("\n" if last else ""))
        else:
            self.stream.write(text + "\n")
        self.stream.flush()
