"""What the makers of a data set say about their own rows (NuminaMath-1.5's validity columns)."""

from __future__ import annotations

from klear_data.filters.base import Rejection, said
from klear_data.records import Record

_YES = frozenset({"", "yes", "true", "valid"})  # a source without such a column says nothing against it


def validity_filter(record: Record) -> Rejection | None:
    """``problem_invalid`` or ``solution_invalid``: the source marks the row as anything but valid.

    The solution counts since the gold of such a row was taken from it.
    """
    for column, reason in (("problem_is_valid", "problem_invalid"), ("solution_is_valid", "solution_invalid")):
        if said(record, column) not in _YES:
            return Rejection(reason, {column: said(record, column)})
    return None
