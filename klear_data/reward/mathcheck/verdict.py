"""What the math verifier says about one answer, and the memory of what it has said."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

from klear_data.reward.think import MissingTag

MathCode = Literal["AC", "WA", "NA", "FE", "TL", "XX"]

_REMEMBERED_CHARS = 4_000


@dataclass(frozen=True)
class MathVerdict:
    """What the verifier found.

    Attributes:
        verdict: AC equal, WA different, NA no answer found, FE think tags missing, TL not decided within
            the worker's limits, XX the verifier failed or the gold cannot be read (never a reward).
        answer: what stood in the box, ``None`` without one.
        stage: the check that decided: extraction, format, gold, string, number, choice, value, structure,
            length, sympy, unread or limit.
        format_ok: the required think tags are there.
        missing: the first think tag that is not.
        cpu_ms: CPU time spent, in this process and in a worker; 0 for a remembered verdict.
        reason: more words, where the stage does not say it all.
    """

    verdict: MathCode
    answer: str | None
    stage: str
    format_ok: bool = True
    missing: MissingTag | None = None
    cpu_ms: float = 0.0
    reason: str | None = None


class VerdictMemory:
    """Verdicts by (gold, answer), the oldest forgotten first; groups of rollouts repeat answers."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str], MathVerdict] = OrderedDict()

    def get(self, key: tuple[str, str]) -> MathVerdict | None:
        with self._lock:
            return self._kept.get(key)

    def put(self, key: tuple[str, str], verdict: MathVerdict) -> None:
        if len(key[0]) + len(key[1]) > _REMEMBERED_CHARS:
            return
        with self._lock:
            self._kept[key] = verdict
            if len(self._kept) > self.size:
                self._kept.popitem(last=False)
