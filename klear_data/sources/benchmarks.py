"""The catalogued benchmarks: what ``--decontaminate NAME`` compares with and what is evaluated on.

>>> [benchmark.name for benchmark in expand_benchmark("aime24") or ()]
['aime24']
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from klear_data.errors import RecordError, UsageError
from klear_data.jsonl import BadLine, Source
from klear_data.records import Record
from klear_data.sources.adapt import to_record
from klear_data.sources.catalog import did_you_mean, is_path
from klear_data.sources.dataset import DataSet, read_catalog
from klear_data.sources.origin import described, folder_of, rows_of
from klear_data.sources.paths import SUFFIXES

VARIABLE = "KLEAR_BENCHMARKS"
_DEFAULT_FOLDER = "benchmark-files"  # a checkout has a folder `benchmarks` already, with measurements

_NAME_COLUMNS = ("task_id", "unique_id", "id")  # of files that come from elsewhere


@dataclass(frozen=True, kw_only=True)
class Benchmark(DataSet):
    """A benchmark of ``benchmarks.toml``; see the comments there.

    Attributes:
        ability: ``math`` or ``code``.
        items: how many problems it has, ``None`` where we do not know.
        id_column: what names a problem, ``None`` where nothing does.
        date_column: holds the day of a problem, where there is a window.
        window: first and last day that count, both included, as ``2024-08-01``.
        local: other names of its file.
        evaluate: False for what is only decontaminated against.
        n: samples a problem in an evaluation.
        template: how a problem is asked there, by the name of a template.
    """

    ability: str
    items: int | None = None
    id_column: str | None = None
    date_column: str | None = None
    window: tuple[str, str] | None = None
    local: tuple[str, ...] = ()
    evaluate: bool = True
    n: int = 4
    template: str = "plain"


def load_benchmarks() -> list[Benchmark]:
    """Every catalogued benchmark, in the order of the catalogue."""
    return [
        Benchmark(**{**entry, "local": tuple(entry.get("local", ())), "window": tuple(entry.get("window", ())) or None})
        for entry in read_catalog("benchmarks.toml", "benchmark")
    ]


def expand_benchmark(name: str) -> list[Benchmark] | None:
    """The benchmark of a name; None for a file, a folder or a pattern. A file of that name wins.

    Raises:
        UsageError: neither; the message offers a close name.
    """
    if Path(name).is_file():
        return None
    names = {benchmark.name.casefold(): benchmark for benchmark in load_benchmarks()}
    if name.casefold() in names:
        return [names[name.casefold()]]
    if is_path(name):
        return None
    hint = did_you_mean(name, list(names)) or f"the names are {', '.join(names)}"
    raise UsageError(f"{name}: no such file and no catalogued benchmark; expected one of them; {hint}")


def benchmark_rows(benchmark: Benchmark) -> Iterator[tuple[str, Record]]:
    """``(where, row)`` of a benchmark inside its window, its columns under klear's names.

    Rows come from ``$KLEAR_BENCHMARKS`` (default ``benchmark-files``): the folder or file of its name, or one of
    its ``local`` names; else from the Hub, else from the Hub's caches.

    Raises:
        CapabilityError: none is at hand; the message says which files to put where.
        RecordError: there is no problem in it, or a row has no date to compare with the window.
        UsageError: a column of the catalogue is missing.
    """
    found = 0
    for where, row in _file_rows(benchmark) or _catalogued_rows(benchmark):
        if benchmark.window is None or _in_window(benchmark, row, where):
            found += 1
            yield where, {"data_source": benchmark.name, "ability": benchmark.ability, **row}
    if not found:
        window = f" between {' and '.join(benchmark.window)}" if benchmark.window else ""
        raise RecordError(
            f"{benchmark.name}: no problem{window} in it; expected {benchmark.items or 'some'}; check the file"
        )


def benchmark_records(benchmark: Benchmark) -> Iterator[tuple[str, Record]]:
    """Like :func:`benchmark_rows`, as klear records; ``extra_info.item`` names the problem where its row does.

    Raises:
        RecordError: also for a row that fits no schema.
    """
    for where, row in benchmark_rows(benchmark):
        try:
            record = to_record(row, where)
        except ValueError as error:
            raise RecordError(f"{where}: {error}") from None
        name = _name(row, benchmark)
        if name is not None:
            record["extra_info"].setdefault("item", name)
        yield where, record


def where_from(benchmark: Benchmark) -> str:
    """Where the problems will be read, in one line for the user."""
    file = _local_file(benchmark)
    return f"{benchmark.name} from {file}" if file is not None else described(benchmark, _folder() / benchmark.name)


def _catalogued_rows(benchmark: Benchmark) -> Iterator[tuple[str, Record]]:
    for where, row, _, _ in rows_of(benchmark, _folder() / benchmark.name, needed_by=benchmark.name):
        if benchmark.counts(row, where):
            yield where, benchmark.renamed(row)


def _file_rows(benchmark: Benchmark) -> Iterator[tuple[str, Record]] | None:
    file = _local_file(benchmark)
    return None if file is None else _read(file)


def _local_file(benchmark: Benchmark) -> Path | None:
    """A single file of this benchmark; it may come from elsewhere than the Hub and have other columns."""
    if (_folder() / benchmark.name).is_dir():
        return None
    names = [f"{name}{suffix}" for name in (benchmark.name, *benchmark.local) for suffix in SUFFIXES]
    return next((path for name in names if (path := _folder() / name).is_file()), None)


def _read(file: Path) -> Iterator[tuple[str, Record]]:
    source = Source(str(file))
    try:
        for item in source:
            if isinstance(item, BadLine):
                raise RecordError(f"{item.where}: {item.problem}; mend the benchmark file")
            yield item
    finally:
        source.close()


def _in_window(benchmark: Benchmark, row: Record, where: str) -> bool:
    first, last = benchmark.window or ("", "")
    said = row.get(benchmark.date_column or "")
    try:
        day = datetime.datetime.fromisoformat(str(said)).date().isoformat()
    except ValueError:
        raise RecordError(
            f"{where}: column {benchmark.date_column!r} is {said!r}; expected a date, since {benchmark.name} is the "
            f"problems from {first} to {last}; use the benchmark's own file"
        ) from None
    return first <= day <= last


def _name(row: Record, benchmark: Benchmark) -> str | None:
    meta = row.get("meta")
    for place in (row, meta if isinstance(meta, dict) else {}):
        for column in (benchmark.id_column, *_NAME_COLUMNS):
            if column is not None and place.get(column) is not None:
                return str(place[column])
    return None


def _folder() -> Path:
    return folder_of(VARIABLE, _DEFAULT_FOLDER)
