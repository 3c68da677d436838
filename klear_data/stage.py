"""What a stage does with a record, and the books it keeps: in = out + rejected + quarantined."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from klear_data.jsonobject import parse_object
from klear_data.records import Record


@dataclass(frozen=True)
class Drop:
    """A record that a stage takes out of the stream, with its reason.

    Attributes:
        record: as it came in; empty where only its line is at hand.
        reason: a short name in snake_case, one a rule (``duplicate``, ``contaminated``).
        evidence: what the rule saw, enough to check it by hand; keys join ``rejected`` in the rejects file.
        line: as it came in, parsed only if somebody wants to see it.
    """

    record: Record
    reason: str
    evidence: dict[str, Any] = field(default_factory=dict)
    line: bytes = b""

    def as_record(self, stage: str) -> Record:
        """What the rejects file holds: the record, and under ``rejected`` the stage, the reason, the evidence."""
        record = parse_object(self.line) if self.line else self.record
        return {**record, "rejected": {"stage": stage, "reason": self.reason, **self.evidence}}


@dataclass(frozen=True)
class Fan:
    """One record that becomes several lines (only ``klear format sft`` does this)."""

    lines: list[Record]


@dataclass(frozen=True, slots=True)
class Lines:
    """Records that go on as whole lines, written as they stand."""

    data: bytes
    count: int


Outcome = Record | Drop | Fan | Lines


class AccountingError(AssertionError):
    """A stage lost or invented a record: a bug in klear, never in the data."""


@dataclass
class Ledger:
    """The counts of one stage.

    Attributes:
        read: records and malformed lines that came in.
        out: records that went on.
        lines: lines written, more than ``out`` only where a stage fans out.
        rejected: dropped records by reason.
        quarantined: lines that were no valid records.
        notes: further counts that a stage wants in its report and its closing table.
    """

    stage: str
    read: int = 0
    out: int = 0
    lines: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    quarantined: int = 0
    notes: dict[str, Any] = field(default_factory=dict)

    def check(self) -> None:
        """Raise AccountingError unless every record that came in is accounted for."""
        accounted = self.out + self.rejected.total() + self.quarantined
        if self.read != accounted:
            raise AccountingError(
                f"klear {self.stage}: {self.read} records in, but {self.out} out + {self.rejected.total()} "
                f"rejected + {self.quarantined} quarantined = {accounted}; please report this bug"
            )

    def as_dict(self) -> dict[str, Any]:
        """The report: counts, drops by reason (most first), and the stage's notes."""
        return {
            "stage": self.stage,
            "in": self.read,
            "out": self.out,
            "lines": self.lines,
            "rejected": self.rejected.total(),
            "quarantined": self.quarantined,
            "dropped": dict(self.rejected.most_common()),
            **self.notes,
        }
