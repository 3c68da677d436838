"""What a run says of its steps: to the file, to the terminal and to a tracker."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from klear_train.metrics.live import LiveLine
from klear_train.metrics.log import Row, StepLog
from klear_train.metrics.trackers import open_tracker
from klear_train.settings import Section, TrackSection


class Report:
    """Writes down and shows what rank 0 is told; on the other processes it does nothing.

    A context: what a tracker still holds is sent at its end.
    """

    def __init__(
        self,
        root: Path,
        *,
        config: Section,
        track: TrackSection,
        total_steps: int,
        log_every: int,
        shown: Sequence[str],
        resumed_step: int | None,
        is_main: bool,
        quiet: bool,
    ) -> None:
        self._every, self._shown = log_every, shown
        self._live = LiveLine(total_steps, quiet=quiet or not is_main)
        self._log = StepLog(root / "metrics.jsonl", resumed_step=resumed_step) if is_main else None
        self._tracker = None
        if is_main:
            self._tracker = open_tracker(
                track.to, project=track.project, name=track.name or root.resolve().name, config=config.model_dump(),
                folder=root, resumed_step=resumed_step,
            )  # fmt: skip

    def __enter__(self) -> Report:
        return self

    def __exit__(self, *_: object) -> None:
        if self._tracker is not None:
            self._tracker.close()

    def log(self, row: Row) -> None:
        """A row for the file and the tracker, whatever its step."""
        if self._log is not None:
            self._log.write(row)
        if self._tracker is not None:
            self._tracker.log(row)

    def step(self, row: dict[str, Any], *, last: bool, log: bool = False) -> None:
        """A step's row: shown, and written down if that is due, it is the last one, or ``log`` says so."""
        if row["step"] % self._every == 0 or last or log:
            self.log(row)
        self._live.update(row["step"], {key: row[key] for key in self._shown if key in row}, last=last)
