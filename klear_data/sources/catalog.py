"""The catalogued sources: which data sets there are, in which order, and where their rows come from."""

from __future__ import annotations

import glob
import os
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any

from klear_data.errors import CapabilityError, UsageError, require
from klear_data.jsonl import STDIO, Source
from klear_data.records import Record

MIRROR_VARIABLE = "KLEAR_SOURCES"
_DEFAULT_MIRROR = "sources"
_READABLE = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet", ".json")
_BEST_TOP = {"math": 1, "code": 2}
"""How many sources an ability does best with: Tables 4 and 5 of the paper (40.83 at Top1, 27.24 at Top2)."""


@dataclass(frozen=True)
class CataloguedSource:
    """One data set of ``catalog.toml``; see the comments there for the fields."""

    name: str
    hub_id: str
    split: str
    ability: str
    license: str
    rank: int
    rank_from: str
    config: str | None = None
    revision: str | None = None
    columns: dict[str, str] = field(default_factory=dict, hash=False)
    mixed: bool = False
    defects: str = ""


def load_catalog() -> list[CataloguedSource]:
    """Every catalogued source, mathematics before code, best rank first."""
    text = files("klear_data.sources").joinpath("catalog.toml").read_text(encoding="utf-8")
    entries = [CataloguedSource(**entry) for entry in tomllib.loads(text)["source"]]
    return sorted(entries, key=lambda entry: (entry.ability != "math", entry.rank))


def expand_names(name: str) -> list[CataloguedSource] | None:
    """The sources behind ``top``, ``top:K`` or a catalogued name; None for anything else.

    Raises:
        UsageError: ``top:K`` with a K that is no positive number, or a near miss of a name.
    """
    catalog = load_catalog()
    if re.fullmatch(r"top(:.*)?", name):
        count = name.partition(":")[2]
        if ":" in name and (not count.isdecimal() or int(count) == 0):
            raise UsageError(f"--sources {name}: {count!r} is no count; expected top or top:K with K ≥ 1, as in top:2")
        return [entry for entry in catalog if entry.rank <= (int(count) if count else _BEST_TOP[entry.ability])]
    by_name = {entry.name.casefold(): entry for entry in catalog}
    wanted = name.casefold()
    if wanted in by_name:
        return [by_name[wanted]]
    is_path = name == STDIO or glob.has_magic(name) or "/" in name or Path(name).exists() or wanted.endswith(_READABLE)
    if not is_path:
        close = get_close_matches(wanted, by_name, n=1)
        hint = f"did you mean {by_name[close[0]].name}?" if close else "`klear sources` lists the names"
        raise UsageError(f"--sources {name}: no such file and no catalogued source; expected one of them; {hint}")
    return None


def source_rows(source: CataloguedSource) -> Iterator[tuple[str, Record]]:
    """``(where, row)`` of a catalogued source, its columns under klear's names.

    Rows come from the mirror folder ``$KLEAR_SOURCES/NAME`` (default ``sources/NAME``) if it exists, else
    they are streamed from the Hub.

    Raises:
        CapabilityError: neither is at hand; the message says which files to put where.
    """
    mirror = Path(os.environ.get(MIRROR_VARIABLE, _DEFAULT_MIRROR)) / source.name
    rows = _mirror_rows(mirror) if mirror.is_dir() else _hub_rows(source, mirror)
    for where, row in rows:
        yield where, _renamed(row, source, where)


def _renamed(row: Record, source: CataloguedSource, where: str) -> Record:
    missing = [column for column in source.columns.values() if column not in row]
    if missing:
        raise UsageError(
            f"{where}: source {source.name} has no column {missing[0]!r} any more (it has {', '.join(row)}); "
            f"expected the columns of klear_data/sources/catalog.toml; mend its entry or pin an older revision"
        )
    theirs = {column: ours for ours, column in source.columns.items()}
    renamed: dict[str, Any] = {theirs.get(column, column): value for column, value in row.items()}
    ability = {} if source.mixed else {"ability": source.ability}
    return {"data_source": source.name, **ability, **renamed}


def _mirror_rows(folder: Path) -> Iterator[tuple[str, Record]]:
    paths = sorted(path for path in folder.rglob("*") if path.name.lower().endswith(_READABLE))
    if not paths:
        raise UsageError(f"{folder}: no file to read; expected {', '.join(_READABLE)}; put the data set's files there")
    for path in paths:
        source = Source(str(path))
        try:
            for item in source:
                if not isinstance(item, tuple):
                    raise UsageError(f"{item.where}: {item.problem}; fetch the file again")
                yield item
        finally:
            source.close()


def _hub_rows(source: CataloguedSource, mirror: Path) -> Iterator[tuple[str, Record]]:
    datasets = require("datasets", extra="hub", needed_by=f"--sources {source.name}")
    try:
        rows = datasets.load_dataset(
            source.hub_id, source.config, split=source.split, revision=source.revision, streaming=True
        )
        for number, row in enumerate(rows, start=1):
            yield f"{source.hub_id}:{number}", dict(row)
    except (OSError, datasets.exceptions.DatasetsError, ValueError) as error:
        first_line = str(error).partition("\n")[0]
        raise CapabilityError(
            f"--sources {source.name}: {source.hub_id} can't be read from the Hub ({first_line}); expected it, or "
            f"its files on disk; put the files of split {source.split!r} into {mirror}/ (the folder "
            f"{MIRROR_VARIABLE} names the parent)"
        ) from None
