"""The catalogued sources: which data sets there are, in which order, and their rows with klear's columns."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from itertools import islice
from pathlib import Path

from klear_data.errors import UsageError
from klear_data.jsonl import STDIO
from klear_data.records import Record
from klear_data.sources.dataset import DataSet, read_catalog
from klear_data.sources.join import joined
from klear_data.sources.origin import Located, described, folder_of, rows_of
from klear_data.sources.paths import SUFFIXES

MIRROR_VARIABLE = "KLEAR_SOURCES"
_DEFAULT_MIRROR = "sources"
UNRANKED = 1_000_000
_BEST_TOP = {"math": 1, "code": 2}
"""How many sources an ability does best with: Tables 4 and 5 of the paper (40.83 at Top1, 27.24 at Top2)."""


@dataclass(frozen=True, kw_only=True)
class CataloguedSource(DataSet):
    """A data set of ``catalog.toml``; see the comments there.

    Attributes:
        ability: what its problems are, or, where ``mixed``, what its rank counts for.
        mixed: its rows say their own ability.
        rank: place within the ability, 1 is best.
        rank_from: what the rank rests on, in words.
        sure: how sure the rank is: ``measured``, ``named`` (listed by the paper, no number) or ``unverified``.
        gold: its rows have answers or tests.
        teacher: the model that wrote the responses it brings.
        join: the sources that hold the problems of its rows, by the name its column ``dataset`` uses.
    """

    ability: str
    rank: int
    rank_from: str
    sure: str
    gold: bool = True
    mixed: bool = False
    teacher: str | None = None
    join: tuple[str, ...] = ()


def load_catalog() -> list[CataloguedSource]:
    """Every catalogued source, mathematics before code, best rank first."""
    entries = [
        CataloguedSource(**{**entry, "join": tuple(entry.get("join", ()))})
        for entry in read_catalog("catalog.toml", "source")
    ]
    return sorted(entries, key=lambda entry: (entry.ability != "math", entry.rank))


def expand_names(name: str) -> list[CataloguedSource] | None:
    """The sources behind ``top``, ``top:K`` or a catalogued name (NAME alone also means NAME-math and NAME-code);
    None for anything else.

    Raises:
        UsageError: ``top:K`` with a K that is no positive number, or a near miss of a name.
    """
    catalog = load_catalog()
    if re.fullmatch(r"top(:.*)?", name):
        count = name.partition(":")[2]
        if ":" in name and (not count.isdecimal() or int(count) == 0):
            raise UsageError(f"--sources {name}: {count!r} is no count; expected top or top:K with K ≥ 1, as in top:2")
        return [entry for entry in catalog if entry.rank <= (int(count) if count else _BEST_TOP[entry.ability])]
    wanted = name.casefold()
    named = [entry for entry in catalog if entry.name.casefold() in (wanted, f"{wanted}-math", f"{wanted}-code")]
    if named:
        return named
    if not is_path(name):
        names = [name for entry in catalog for name in (entry.name, entry.folder) if name]
        raise UsageError(
            f"--sources {name}: no such file and no catalogued source; expected one of them; "
            f"{did_you_mean(name, names) or '`klear sources` lists the names'}"
        )
    return None


def rank_of_source(name: str) -> int:
    """The rank of a record's ``data_source``, 1 is best; sources that are not catalogued share the last place."""
    return _ranks().get(name.casefold(), UNRANKED)


@lru_cache(maxsize=1)
def _ranks() -> dict[str, int]:
    return {entry.name.casefold(): entry.rank for entry in load_catalog()}


def is_path(name: str) -> bool:
    """True for what can only be meant as a file, a folder, a pattern or stdin."""
    looks_so = name == STDIO or glob.has_magic(name) or "/" in name or name.casefold().endswith(SUFFIXES)
    return looks_so or Path(name).exists()


def did_you_mean(wanted: str, names: list[str]) -> str:
    """A hint at the name that is closest, empty where none is close."""
    by_key = {name.casefold(): name for name in names}
    close = get_close_matches(wanted.casefold(), by_key, n=1)
    return f"did you mean {by_key[close[0]]}?" if close else ""


def where_from(source: CataloguedSource) -> str:
    """Where the rows of a source will be read, in one line for the user."""
    return described(source, _mirror(source))


def source_rows(source: CataloguedSource, *, at_most: int | None = None) -> Iterator[tuple[str, Record]]:
    """``(where, row)`` of a catalogued source, its columns under klear's names.

    Rows come from the mirror folder ``$KLEAR_SOURCES/NAME`` (default ``sources/NAME``) if it exists, else from
    the Hub, else from the Hub's caches.

    Args:
        source: which.
        at_most: this many rows, the first of them; nothing beyond is read.

    Raises:
        CapabilityError: none is at hand; the message says which files to put where.
        UsageError: a column of the catalogue is missing, a row can't be joined to its problem, or there is no row.
    """
    where = None
    for where, row, part, commit in islice(_joined_rows(source), at_most):
        provenance = {"split": part.split, "revision": commit, "license": source.license}
        yield where, _as_raw(source, source.renamed(row), provenance)
    if where is None:
        raise UsageError(f"{where_from(source)}: no row of this source; expected some; fetch its files again")


def _joined_rows(source: CataloguedSource) -> Iterator[Located]:
    located = rows_of(source, _mirror(source), needed_by=f"--sources {source.name}")
    located = (item for item in located if source.counts(item[1], item[0]))
    return joined(located, source, partners={name: _partner(name) for name in source.join}) if source.join else located


def _partner(name: str) -> tuple[DataSet, Path]:
    source = next(entry for entry in load_catalog() if entry.name == name)
    return source, _mirror(source)


def _mirror(source: DataSet) -> Path:
    return folder_of(MIRROR_VARIABLE, _DEFAULT_MIRROR) / (source.folder or source.name)


def _as_raw(source: CataloguedSource, row: Record, provenance: dict[str, str | None]) -> Record:
    """A row with what only the catalogue knows: the source's name, its ability, its teacher, where it came from.

    What the row says itself counts more, but for its name of the source: reports and ranks go by ours.
    """
    own = row.get("extra_info")
    said = {**own, **row} if isinstance(own, dict) else row
    raw: Record = {"data_source": source.name}
    if not source.mixed:
        raw["ability"] = source.ability
    if source.teacher is not None:
        raw["teacher"] = source.teacher
    raw.update({key: value for key, value in provenance.items() if value is not None and key not in said})
    for column, value in row.items():
        raw["original_data_source" if column == "data_source" else column] = value
    return raw
