"""The one line on the terminal that says how a run is getting on."""

from __future__ import annotations

import math
import sys
import time
from typing import TextIO


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
        text = f"step {step}/{self.total}  " + "  ".join(f"{key} {_short(value)}" for key, value in figures.items())
        text += f"  {rate:.2g} steps/s  {time_left((self.total - step) / rate)} left"
        if self.stream.isatty():
            self.stream.write(f"\r\x1b[2K{text}" + ("\n" if last else ""))
        else:
            self.stream.write(text + "\n")
        self.stream.flush()


def time_left(seconds: float) -> str:
    """Hours and minutes, or minutes and seconds.

    >>> time_left(75), time_left(3 * 3600 + 120)
    ('1m15s', '3h02m')
    """
    minutes, rest_s = divmod(round(seconds), 60)
    return f"{minutes}m{rest_s:02}s" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02}m"


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}"
