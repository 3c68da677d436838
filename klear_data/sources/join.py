"""Rows that name their problem instead of stating it: OpenCodeReasoning's ``split_1`` and its ``-``.

Such a row says ``dataset`` (``taco`` or ``apps``), ``split`` and ``index``; the problem is that row of that data
set. What is copied is what the problem consists of, so that the joined row and the partner's own row are exact
duplicates and the partner's tests reach both (:mod:`klear_data.dedup`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from klear_data.errors import UsageError
from klear_data.sources.dataset import DataSet, Part
from klear_data.sources.origin import Located, rows_of

MISSING = "-"
_COPIED = ("question", "starter_code")
_Problems = list[dict[str, Any]]


def joined(
    rows: Iterator[Located], data: DataSet, *, partners: Mapping[str, tuple[DataSet, Path]]
) -> Iterator[Located]:
    """The rows, each ``-`` replaced by the problem it stands for.

    Args:
        rows: of the data set.
        data: whose ``columns`` say which column holds the problem.
        partners: name → the data set that holds problems and its folder; a row's ``dataset`` is such a name.

    Raises:
        CapabilityError: a partner is needed and out of reach; the message says which files to put where.
        UsageError: a row names a problem that the partner does not have.
    """
    column = data.columns["problem"]
    tables: dict[tuple[str, str], _Problems] = {}
    by_key = {name.casefold(): name for name in partners}
    for where, row, part, commit in rows:
        name = by_key.get(str(row.get("dataset")).casefold())
        if row[column] != MISSING or name is None:
            yield where, row, part, commit  # one that names no partner stays "-", for a filter to drop
            continue
        key = name, str(row.get("split"))
        if key not in tables:
            partner, place = partners[name]
            tables[key] = _problems(partner, place, split=key[1], needed_by=f"{where} ('-': {name} {key[1]})")
        problem = _nth(tables[key], row.get("index"), where=where, partner=" ".join(key))
        yield where, {**row, column: problem["question"], "starter_code": problem["starter_code"]}, part, commit


def _problems(partner: DataSet, place: Path, *, split: str, needed_by: str) -> _Problems:
    """The problems of one split of a partner, in its order; in memory, some 2 KB each."""
    parts = tuple(Part(split, part.config, _for_split(part, split)) for part in partner.parts)
    rows = rows_of(replace(partner, parts=parts), place, needed_by=needed_by)
    return [{name: row.get(name) for name in _COPIED} for where, row, _, _ in rows if partner.counts(row, where)]


def _for_split(part: Part, split: str) -> tuple[str, ...]:
    """The catalogue's patterns, which name one split, for another one."""
    return tuple(pattern.replace(part.split, split) for pattern in part.files)


def _nth(problems: _Problems, index: object, *, where: str, partner: str) -> dict[str, Any]:
    text = str(index)
    if not text.isdecimal() or int(text) >= len(problems):
        raise UsageError(
            f"{where}: asks for problem {text} of {partner}, which has {len(problems):,}; expected one of these; use "
            f"the files of {partner} as the Hub has them, complete and in order"
        )
    return problems[int(text)]
