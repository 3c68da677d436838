"""What a running stage shows on stderr: a live line on a terminal, a line every while elsewhere."""

from __future__ import annotations

import sys
import time

from klear_data.stage import Ledger

_TERMINAL_EVERY_S = 0.2
_LOG_EVERY_S = 15.0


class Progress:
    """Prints count, rate and time left, no more often than anyone can read.

    Args:
        quiet: print nothing.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._terminal = sys.stderr.isatty()
        self._quiet = quiet
        self._began_s = time.monotonic()
        self._shown_s = self._began_s
        self._drawn = False

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began_s

    def update(self, ledger: Ledger, fraction: float | None) -> None:
        """Show the state if it is time to.

        Args:
            ledger: of the stage.
            fraction: share of the input already read, None if unknown.
        """
        now_s = time.monotonic()
        every_s = _TERMINAL_EVERY_S if self._terminal else _LOG_EVERY_S
        if self._quiet or now_s - self._shown_s < every_s:
            return
        self._shown_s = now_s
        self._draw(_line(ledger, fraction, now_s - self._began_s))

    def _draw(self, line: str) -> None:
        if self._terminal:
            sys.stderr.write(f"\r\x1b[2K{line}")
            self._drawn = True
        else:
            sys.stderr.write(line + "\n")
        sys.stderr.flush()

    def close(self) -> None:
        """Clear the live line, so that the closing table starts on a clean one."""
        if self._drawn:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()
            self._drawn = False


def _line(ledger: Ledger, fraction: float | None, seconds: float) -> str:
    done = ledger.out + ledger.rejected.total() + ledger.quarantined
    if not done and ledger.read:  # a stage that must know all of its input before anything goes on
        return f"klear {ledger.stage}: {ledger.read:,} records read, {ledger.read / max(seconds, 1e-9):,.1f}/s"
    text = f"klear {ledger.stage}: {done:,} records, {done / max(seconds, 1e-9):,.1f}/s"
    # The share read runs ahead of the share done by what is in flight: scale it by what came out.
    share = (fraction or 0.0) * done / max(ledger.read, 1)
    if share <= 0:
        return text
    filled = int(20 * share)
    left_s = seconds * (1 - share) / share
    return f"{text}  [{'█' * filled}{'·' * (20 - filled)}] {share:4.0%}  ETA {_clock(left_s)}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
