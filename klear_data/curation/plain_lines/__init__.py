"""Lines that are records as nearly all are, read many at once without an object for each.

A line is **plain** if it is a record as nearly all are: a math problem asked in one message of a user, with a gold that
is plainly one, and nothing that a later stage adds. What is plain is told strictly: each plain line is JSON (RFC 8259)
and passes :func:`klear_data.records.plain_columns`. Lines that leave any doubt (``\\u`` escapes, numbers with an
exponent, a key twice) are not plain, and whoever calls looks at them one by one.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Scanned(NamedTuple):
    """Columns of the plain lines among some.

    Attributes:
        plain: of every line, whether it is one (bool); the other columns hold only those that are.
        prompts: the texts of the prompts in UTF-8, one after the other (uint8).
        prompt_ends: where each ends (int64).
        sources: each one's ``data_source``.
        golds: 64 bits of each gold as it is written, never 0 (uint64).
    """

    plain: Any
    prompts: Any
    prompt_ends: Any
    sources: list[str]
    golds: Any
