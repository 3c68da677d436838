"""Writes records as the Parquet that verl's and TRL's loaders read."""

from __future__ import annotations

from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from klear_data.errors import UsageError
from klear_data.export.rows import CELL, Target, rl_row, sft_row
from klear_data.jsonl import parse_object, to_line
from klear_data.parquet import CELL_COLUMN
from klear_data.records import Record
from klear_data.sink import FileSink

Kind = Literal["rl", "sft"]

# Arrow's strings end at 2 GiB an array, and nested ones can't be split when read: with tests of megabytes a
# group of a thousand rows would be written and never read again.
_GROUP_ROWS = 1024
_GROUP_BYTES = 64 << 20

_MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
_RL_FIELDS = [
    ("data_source", pa.string()),
    ("prompt", _MESSAGES),
    ("ability", pa.string()),
    ("reward_model", pa.struct([("style", pa.string()), ("ground_truth", pa.string())])),
    (
        "extra_info",
        pa.struct([("index", pa.int64()), ("split", pa.string()), ("id", pa.string()), ("ability", pa.string())]),
    ),
]
_SFT_FIELDS = [
    ("id", pa.string()),
    ("data_source", pa.string()),
    ("ability", pa.string()),
    ("messages", _MESSAGES),
    ("verdict", pa.string()),
    ("reward", pa.float64()),
]


class ExportSink(FileSink):
    """Records in a Parquet file with the columns of verl or TRL, complete or absent.

    The schema is fixed, so a file without rows has it too.

    Args:
        path: ends in ``.parquet``.
        kind: ``rl`` for problems, ``sft`` for conversations.
        target: whose loader.

    Raises:
        UsageError: another suffix or stdout, or a path that can't be written.
    """

    def __init__(self, path: str, kind: Kind, target: Target) -> None:
        if not path.lower().endswith(".parquet"):
            raise UsageError(
                f"--to {target} -o {path}: not a Parquet file; expected one, the form that {target}'s loader reads; "
                f"name it with -o FILE.parquet"
            )
        super().__init__(path)
        self._kind, self._loader = kind, target
        fields = list(_RL_FIELDS if kind == "rl" else _SFT_FIELDS)
        if kind == "rl" and target == "trl":
            fields.append(("solution", pa.string()))
        self._schema = pa.schema([*fields, (CELL, pa.string())], metadata={CELL_COLUMN: CELL.encode()})
        self._writer = pq.ParquetWriter(self._raw, self._schema, compression="zstd")
        self._rows: list[Record] = []
        self._num_bytes = 0
        self._written = 0

    def _write(self, record: Record) -> None:
        if self._kind == "rl":
            row = rl_row(record, row_number=self._written, target=self._loader)
        else:
            row = sft_row(record)
        num_bytes = len(to_line(row))
        if self._rows and (len(self._rows) == _GROUP_ROWS or self._num_bytes + num_bytes > _GROUP_BYTES):
            self._flush()
        self._rows.append(row)
        self._num_bytes += num_bytes
        self._written += 1

    def _write_lines(self, data: bytes) -> None:
        for line in data.split(b"\n")[:-1]:
            self._write(parse_object(line))

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_batch(pa.RecordBatch.from_pylist(self._rows, schema=self._schema))
        self._rows, self._num_bytes = [], 0

    def _finish(self) -> None:
        self._flush()
        self._writer.close()
        super()._finish()

    def _discard(self) -> None:
        try:
            self._writer.close()  # or it would try when it is collected, on a file that is closed
        except (OSError, ValueError):
            pass  # the file goes anyway
        super()._discard()
