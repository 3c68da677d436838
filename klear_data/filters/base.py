"""What a filter is: a predicate on one record that names its reason.

Filters read no other record, so they run in any order and on any shard of the data.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from klear_data.records import Record
from klear_data.text import prompt_text


@dataclass(frozen=True)
class Rejection:
    """Why a record goes: a reason in snake_case, and what the filter saw."""

    reason: str
    evidence: dict[str, Any] = field(default_factory=dict)


Filter = Callable[[Record], Rejection | None]


def question_of(record: Record) -> str:
    """The prompt of a mathematics problem; empty for others, whose statements are another genre."""
    return prompt_text(record["prompt"]) if record["ability"] == "math" else ""


def said(record: Record, column: str) -> str:
    """A column of the source in small letters, empty where it has none."""
    value = (record.get("extra_info") or {}).get(column)
    return str(value).strip().casefold() if isinstance(value, str | bool) else ""


def around(match: re.Match[str], *, width: int = 40) -> str:
    """A match with some of the text on both sides, as evidence."""
    start, end = max(0, match.start() - width), match.end() + width
    return " ".join(match.string[start:end].split())
