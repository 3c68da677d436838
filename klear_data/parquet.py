"""Records in Parquet and back, without losing a key, a null or a digit.

A column whose values Arrow gives back exactly (``prompt``, ``reward_model``: the nested columns that verl and
TRL read) is written natively. Any other one, say rollouts whose keys differ from record to record, is written
as JSON strings, and the file's metadata names it, so that reading restores it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from itertools import islice
from typing import IO, Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from klear_data.errors import RecordError
from klear_data.export.rows import record_of
from klear_data.jsonl import as_json, parse_object, to_line
from klear_data.records import Record

_JSON_COLUMNS = b"klear.json_columns"
CELL_COLUMN = b"klear.cell_column"
"""Metadata of an export: its rows become records by :func:`klear_data.export.rows.record_of`."""
_BATCH_ROWS = 1024


def read_rows(stream: IO[bytes], name: str) -> Iterator[Record]:
    """Yield the rows of a Parquet file, columns that hold JSON decoded.

    Raises:
        RecordError: the file is not Parquet.
    """
    try:
        file = pq.ParquetFile(stream)
    except (pa.ArrowInvalid, OSError) as error:
        raise RecordError(f"{name}: not a Parquet file ({error}); expected one, as its suffix says") from None
    metadata = file.schema_arrow.metadata or {}
    json_columns = set(orjson.loads(metadata.get(_JSON_COLUMNS, b"[]")))
    for batch in file.iter_batches(batch_size=_BATCH_ROWS):
        for row in map(as_json, batch.to_pylist()):
            if CELL_COLUMN in metadata:
                yield record_of(row)
            else:
                yield _restored(row, json_columns) if json_columns else row


def _restored(row: Record, json_columns: set[str]) -> Record:
    record: Record = {}
    for column, value in row.items():
        if column not in json_columns:
            record[column] = value
        elif value is not None:  # None: the record had no such key
            record.update(parse_object(value.encode("utf-8")))
    return record


class ParquetWriter:
    """Collects records in a spool file beside the target and writes them as Parquet at the end.

    The schema is known only when the last record is: two passes over the spool, bounded memory.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._spool = tempfile.TemporaryFile()  # noqa: SIM115  (closed in finish())
        self._columns: dict[str, None] = {}

    def write(self, record: Record) -> None:
        self._columns.update(dict.fromkeys(record))
        self._spool.write(to_line(record))

    def finish(self) -> None:
        """Decide how each column is stored, then write the file."""
        types = {column: self._native_type(column) for column in self._columns}
        json_columns = [column for column, native in types.items() if native is None]
        schema = pa.schema(
            [pa.field(column, pa.string() if native is None else native) for column, native in types.items()],
            metadata={_JSON_COLUMNS: orjson.dumps(json_columns)},
        )
        with pq.ParquetWriter(self._stream, schema) as writer:
            for rows in self._batches():
                columns = {
                    column: [_as_json(row, column) for row in rows] if native is None else [row[column] for row in rows]
                    for column, native in types.items()
                }
                writer.write_batch(pa.record_batch(columns, schema=schema))
        self._spool.close()

    def _batches(self) -> Iterator[list[Record]]:
        self._spool.seek(0)
        lines = iter(self._spool)
        while rows := [parse_object(line) for line in islice(lines, _BATCH_ROWS)]:
            yield rows

    def _native_type(self, column: str) -> pa.DataType | None:
        """The Arrow type that gives every value of a column back exactly, None if there is none."""
        merged: pa.Schema | None = None
        try:
            for rows in self._batches():
                if any(column not in row for row in rows):
                    return None
                batch = pa.schema([pa.field(column, pa.array([row[column] for row in rows]).type)])
                merged = batch if merged is None else pa.unify_schemas([merged, batch])
            native = merged.field(column).type if merged is not None else pa.string()
            for rows in self._batches():
                values = [row[column] for row in rows]
                if not _same(pa.array(values, native).to_pylist(), values):
                    return None
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError, UnicodeEncodeError):
            return None
        return native


def _same(left: list[Any], right: list[Any]) -> bool:
    # Compared as JSON text: 1 == 1.0 == True in Python, and the order of keys must hold too.
    return to_line({"v": left}) == to_line({"v": right})


def _as_json(row: Record, column: str) -> str | None:
    return to_line({column: row[column]}).decode("utf-8") if column in row else None
