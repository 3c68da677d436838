"""What the catalogues say of a data set: where it is, which of its files and rows count, how its columns are called."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files
from typing import Any

from klear_data.errors import UsageError
from klear_data.records import Record


@dataclass(frozen=True)
class Part:
    """One run of rows inside a data set: a split of a configuration.

    Attributes:
        split: as the Hub calls it.
        config: the Hub's configuration, ``None`` for its default.
        files: patterns of the files that hold it, relative to the repository. Read directly where they are
            given (some repositories can be loaded by a script only, which ``datasets`` no longer runs).
    """

    split: str
    config: str | None = None
    files: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """A data set on the Hub, or its copy on disk.

    Attributes:
        name: what the command line and ``data_source`` call it.
        hub_id: ``owner/name``.
        parts: what is read, in this order.
        revision: the commit that is read; ``None`` reads the newest and writes down which that was.
        columns: klear's name of a column → the data set's; each must be there.
        keep: column → the values of the rows that count; empty keeps every row.
        license: as its card says it.
        folder: what its mirror folder is called; the name where empty.
        defects: what to know before using it.
    """

    name: str
    hub_id: str
    parts: tuple[Part, ...]
    license: str
    revision: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict, hash=False)
    keep: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    defects: str = ""
    folder: str = ""

    def counts(self, row: Record, where: str) -> bool:
        """True if a row belongs to this data set's selection.

        Raises:
            UsageError: the row lacks a column of the catalogue.
        """
        for column in (*self.columns.values(), *self.keep):
            if column not in row:
                raise UsageError(
                    f"{where}: {self.name} has no column {column!r} any more (it has {', '.join(row)}); expected the "
                    f"columns of klear's catalogue; mend its entry there or use the revision it was written for"
                )
        return all(row[column] in values for column, values in self.keep.items())

    def renamed(self, row: Record) -> Record:
        """The row with klear's names for the columns of the catalogue."""
        theirs = {column: ours for ours, column in self.columns.items()}
        return {theirs.get(column, column): value for column, value in row.items()}


@lru_cache(maxsize=4)
def read_catalog(file: str, key: str) -> tuple[dict[str, Any], ...]:
    """The entries ``[[key]]`` of a TOML file of this package, their parts and selections made ready."""
    text = files("klear_data.sources").joinpath(file).read_text(encoding="utf-8")
    return tuple(_entry(dict(raw)) for raw in tomllib.loads(text)[key])


def _entry(raw: dict[str, Any]) -> dict[str, Any]:
    """``split``, ``config`` and ``files`` of an entry of one part stand in the entry itself."""
    own = {key: raw.pop(key) for key in ("split", "config", "files") if key in raw}
    parts = raw.pop("parts", None) or [own]
    raw["parts"] = tuple(Part(**{**part, "files": tuple(part.get("files", ()))}) for part in parts)
    raw["keep"] = {column: tuple(values) for column, values in raw.pop("keep", {}).items()}
    return raw
