"""Objects in and out, one a line: ``-``, ``.jsonl``, ``.jsonl.gz``, ``.jsonl.zst``, ``.parquet``, ``.json``.

Lines end at the byte ``\\n`` and nowhere else, so U+2028 inside a string is text. A byte order mark at the
start, a ``\\r`` before the ``\\n``, blank lines and a last line without ``\\n`` are all accepted; what is
not one JSON object (invalid UTF-8, a raw NUL, a cut line) is a :class:`BadLine` with its line number.
"""

from __future__ import annotations

import base64
import gzip
import io
import sys
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import cast

import zstandard

from klear_data.errors import RecordError, UsageError
from klear_data.jsonobject import (
    MAX_LEVELS,
    TOO_DEEP,
    as_json,
    glance,
    nested_deeper,
    parse_exactly,
    parse_object,
    to_line,
)
from klear_data.records import Record

__all__ = [
    "BATCH_ROWS", "MAX_LEVELS", "STDIO", "BadLine", "Batch", "Source",
    "as_json", "glance", "nested_deeper", "parse_object", "to_line",
]  # fmt: skip

STDIO = "-"
BOM = b"\xef\xbb\xbf"
BATCH_ROWS = 1024
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class BadLine:
    """A line that is no record.

    Attributes:
        where: ``FILE:LINE`` (for Parquet and JSON arrays the number of the row).
        problem: what is wrong and what was expected.
        raw: the bytes as they stood.
    """

    where: str
    problem: str
    raw: bytes

    def as_record(self) -> Record:
        """The line for the quarantine file: where, why, and every byte of the original."""
        try:
            kept = {"raw": self.raw.decode("utf-8")}
        except UnicodeDecodeError:
            kept = {"raw_base64": base64.b64encode(self.raw).decode("ascii")}
        return {"where": self.where, "problem": self.problem, **kept}


@dataclass(frozen=True, slots=True)
class Batch:
    """Some lines of one file in a row, as they stood, blank ones left out.

    Attributes:
        name: of the file, as it is named in messages.
        numbers: of the lines, or of the rows of a table, counted from 1; they rise.
        lines: without their newline. The first of a file may begin with a byte order mark.
    """

    name: str
    numbers: Sequence[int]
    lines: list[bytes]

    def __len__(self) -> int:
        return len(self.lines)

    def part(self, start: int, end: int | None = None) -> Batch:
        return Batch(self.name, self.numbers[start:end], self.lines[start:end])

    def texts(self) -> list[bytes]:
        """The lines without a byte order mark."""
        if self.lines and self.numbers[0] == 1 and self.lines[0].startswith(BOM):
            return [self.lines[0].removeprefix(BOM), *self.lines[1:]]
        return self.lines


class Source:
    """An input, opened: iterate over it for records and bad lines, ask it how far it is.

    Raises:
        UsageError: the file is missing, a folder, not readable, or of an unknown suffix.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.name = "<stdin>" if path == STDIO else path
        self._bytes_total = 0
        self._raw = self._open()
        self._is_parquet = path.lower().endswith(".parquet")

    def _open(self) -> io.BufferedReader:
        if self.path == STDIO:
            if sys.stdin is None:
                raise UsageError("<stdin>: closed; expected records there; name a file to read")
            return cast(io.BufferedReader, sys.stdin.buffer)
        try:
            stream = open(self.path, "rb")  # noqa: SIM115  (closed in close())
            self._bytes_total = Path(self.path).stat().st_size
        except FileNotFoundError:
            raise UsageError(f"{self.path}: no such file; expected a file or - for stdin; check the path") from None
        except IsADirectoryError:
            raise UsageError(f"{self.path}: a folder; expected one file; name a file inside it") from None
        except OSError as error:
            raise UsageError(f"{self.path}: can't be read ({error.strerror}); check its permissions") from None
        return stream

    def close(self) -> None:
        if self.path != STDIO:
            self._raw.close()

    def fraction_read(self) -> float | None:
        """Share of the file's bytes already read, ``None`` where it can't be known (a pipe)."""
        if not self._bytes_total or self._raw.closed:
            return None
        return min(1.0, self._raw.tell() / self._bytes_total)

    def __iter__(self) -> Iterator[tuple[str, Record] | BadLine]:
        """Yield ``(where, record)`` or a BadLine, in the order of the file."""
        for item in self.with_lines():
            yield item if isinstance(item, BadLine) else item[:2]

    def with_lines(self) -> Iterator[tuple[str, Record, bytes] | BadLine]:
        """Like iteration, each record with the line that it came as; empty for a row of a table."""
        if self._is_parquet:
            for number, row in self._parquet_rows():
                yield f"{self.name}:{number}", row, b""
            return
        for batch in self.batches():
            for number, line, text in zip(batch.numbers, batch.lines, batch.texts(), strict=True):
                where = f"{self.name}:{number}"
                try:
                    yield where, parse_object(text), text
                except ValueError as error:
                    yield BadLine(where, str(error), line)

    def batches(self, *, rows: int = BATCH_ROWS) -> Iterator[Batch]:
        """The lines of the file, as many at a time as a pipe holds now, and never more than ``rows``."""
        name = self.path.lower()
        if self._is_parquet:
            return self._row_batches((to_line(row)[:-1] for _, row in self._parquet_rows()), rows)
        if name.endswith(".json"):
            return self._json_array_or_lines(rows)
        if name.endswith(".gz"):
            return self._line_batches(_chunks(gzip.open(self._raw)), rows)
        if name.endswith(".zst"):
            return self._line_batches(_zstd_chunks(self._raw), rows)
        return self._line_batches(_chunks(self._raw), rows)

    def _line_batches(self, chunks: Iterator[bytes], rows: int) -> Iterator[Batch]:
        seen = 0
        try:
            for lines in _split_lines(chunks):
                for start in range(0, len(lines), rows):
                    yield from _without_blanks(self.name, seen + start + 1, lines[start : start + rows])
                seen += len(lines)
        except (EOFError, zlib.error, gzip.BadGzipFile, zstandard.ZstdError) as error:
            raise RecordError(
                f"{self.name}:{seen + 1}: the compressed data is damaged or ends early ({error}); expected a "
                f"whole file; fetch or write it again"
            ) from None
        except OSError as error:
            raise UsageError(f"{self.name}:{seen + 1}: can't be read on ({error.strerror}); check the disk") from None

    def _json_array_or_lines(self, rows: int) -> Iterator[Batch]:
        """A ``.json`` file: one array of objects (read whole), or JSON lines under another name."""
        head = self._raw.read(4096)
        if not head.removeprefix(BOM).lstrip().startswith(b"["):
            yield from self._line_batches(chain([head], _chunks(self._raw)), rows)
            return
        try:
            values = parse_exactly((head + self._raw.read()).removeprefix(BOM))
            if nested_deeper(values, than=MAX_LEVELS + 1):
                raise ValueError(TOO_DEEP)
        except ValueError as error:
            raise RecordError(f"{self.name}: {error}; as it begins with '[', one JSON array of objects") from None
        yield from self._row_batches((to_line(value)[:-1] for value in values), rows)

    def _row_batches(self, lines: Iterator[bytes], rows: int) -> Iterator[Batch]:
        first = 1
        while batch := list(islice(lines, rows)):
            yield Batch(self.name, range(first, first + len(batch)), batch)
            first += len(batch)

    def _parquet_rows(self) -> Iterator[tuple[int, Record]]:
        from klear_data.parquet import read_rows

        return enumerate(read_rows(self._raw, self.name), start=1)


def _without_blanks(name: str, first: int, lines: list[bytes]) -> Iterator[Batch]:
    if b"" not in lines and not any(map(bytes.isspace, lines)):
        yield Batch(name, range(first, first + len(lines)), lines)
        return
    kept = [position for position, line in enumerate(lines) if line and not line.isspace()]
    if kept:
        yield Batch(name, [first + position for position in kept], [lines[position] for position in kept])


def _chunks(stream: io.BufferedReader | gzip.GzipFile) -> Iterator[bytes]:
    while chunk := stream.read1(_CHUNK_BYTES):  # read1: what a pipe holds now, without waiting for a full chunk
        yield chunk


def _zstd_chunks(stream: io.BufferedReader) -> Iterator[bytes]:
    """The content of one or more zstd frames; unlike the library's reader it notices a frame cut short."""
    decompressor = zstandard.ZstdDecompressor()
    frame = None
    for compressed in _chunks(stream):
        while compressed:
            frame = frame or decompressor.decompressobj()
            yield frame.decompress(compressed)
            compressed = frame.unused_data if frame.eof else b""
            if frame.eof:
                frame = None
    if frame is not None:
        raise EOFError("the last zstd frame is cut short")


def _split_lines(chunks: Iterator[bytes]) -> Iterator[list[bytes]]:
    """The lines that each chunk completes, without their ``\\n`` or ``\\r\\n``."""
    pending: list[bytes] = []
    for chunk in chunks:
        lines = chunk.split(b"\n")
        pending.append(lines[0])
        if len(lines) == 1:
            continue
        lines[0] = b"".join(pending)
        pending = [lines.pop()]
        # The first may end in a \r that came with an earlier chunk.
        yield [line.removesuffix(b"\r") for line in lines] if b"\r" in chunk or lines[0].endswith(b"\r") else lines
    tail = b"".join(pending)
    if tail:
        yield [tail.removesuffix(b"\r")]
