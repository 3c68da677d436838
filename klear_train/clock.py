"""Where a step's time goes."""

from __future__ import annotations

import time


class Clock:
    """Seconds of each phase of a step, one after the other.

    Attributes:
        laps: phase → seconds.
    """

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._began = time.perf_counter()

    def lap(self, name: str) -> None:
        """End a phase; the next one begins."""
        now = time.perf_counter()
        self.laps[name], self._began = now - self._began, now
