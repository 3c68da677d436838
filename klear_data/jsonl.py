"""Objects in and out, one a line: ``-``, ``.jsonl``, ``.jsonl.gz``, ``.jsonl.zst``, ``.parquet``, ``.json``.

Lines end at the byte ``\\n`` and nowhere else, so U+2028 inside a string is text. A byte order mark at the
start, a ``\\r`` before the ``\\n``, blank lines and a last line without ``\\n`` are all accepted; what is
not one JSON object (invalid UTF-8, a raw NUL, a cut line) is a :class:`BadLine` with its line number.
"""

from __future__ import annotations

import base64
import datetime
import gzip
import io
import json
import math
import re
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn, cast

import orjson
import zstandard

from klear_data.errors import RecordError, UsageError
from klear_data.records import Record

STDIO = "-"
_BOM = b"\xef\xbb\xbf"
_CHUNK_BYTES = 1 << 20
# orjson reads an integer beyond 64 bits as a float; such lines go to the slower exact parser.
_LONG_DIGITS = re.compile(rb"\d{19}")
MAX_LEVELS = 200
"""Objects and lists inside each other; what is nested deeper could be read and not written again."""
_TOO_DEEP = f"nested too deeply; expected at most {MAX_LEVELS} levels"


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


def parse_object(line: bytes) -> Record:
    """Parse one JSON object exactly.

    Integers keep all their digits and lone surrogate escapes (``\\ud800``) survive; NaN and Infinity are no
    JSON and are refused, and so is a number too large for a double.

    Raises:
        ValueError: with what is wrong and what was expected.
    """
    try:
        value = orjson.loads(line) if not _LONG_DIGITS.search(line) else _parse_slowly(line)
    except orjson.JSONDecodeError:
        value = _parse_slowly(line)
    if not isinstance(value, dict):
        raise ValueError(f"a JSON {_json_type(value)}; expected one JSON object a line")
    if line.count(b"[") + line.count(b"{") > MAX_LEVELS and nested_deeper(value, than=MAX_LEVELS):
        raise ValueError(_TOO_DEEP)
    return value


def nested_deeper(value: object, *, than: int) -> bool:
    """True if objects and lists stand inside each other at more than this many levels.

    >>> nested_deeper({"a": [1]}, than=2), nested_deeper({"a": [1]}, than=1)
    (False, True)
    """
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return than == 0 or any(nested_deeper(part, than=than - 1) for part in inner)


def _parse_slowly(line: bytes) -> Any:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"not valid UTF-8 (byte 0x{line[error.start]:02x} at column {error.start + 1}); expected UTF-8 text"
        ) from None
    try:
        return json.loads(text, parse_constant=_refuse_constant, parse_float=_finite, parse_int=_integer)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    except json.JSONDecodeError as error:
        what = error.msg.removesuffix(" at")
        if error.pos >= len(text.rstrip()) or what.startswith("Unterminated string"):
            raise ValueError("ends in the middle of a JSON object; expected a whole one") from None
        raise ValueError(f"not JSON ({what} at column {error.pos + 1}); expected one JSON object") from None


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"the number {digits[:40]} is too large; expected one that a double can hold")
    return number


def _integer(digits: str) -> int:
    try:
        return int(digits)
    except ValueError:  # Python converts no more, since that takes quadratic time
        raise ValueError(f"an integer of {len(digits):,} digits; expected at most 4,300") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON; expected a finite number or null")


def _json_type(value: object) -> str:
    names: dict[type, str] = {list: "array", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")


def as_json(value: Any) -> Any:
    """A cell as JSON can hold it: Parquet also has bytes, dates and decimals, and NaN for what is missing.

    >>> as_json({"when": datetime.date(2025, 8, 12), "image": b"\\xff", "year": float("nan")})
    {'when': '2025-08-12', 'image': '/w==', 'year': None}
    """
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, dict):
        return {str(key): as_json(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(inner) for inner in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    return value.isoformat() if isinstance(value, datetime.date | datetime.time) else str(value)


def to_line(record: Any) -> bytes:
    """The record as one line of UTF-8 JSON with its ``\\n``; what UTF-8 can't hold is escaped."""
    try:
        return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # lone surrogates, integers beyond 64 bits
        return json.dumps(record, allow_nan=False, separators=(",", ":")).encode("ascii") + b"\n"


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
        name = self.path.lower()
        if name.endswith(".parquet"):
            return self._parquet_rows()
        if name.endswith(".json"):
            return self._json_array_or_lines()
        if name.endswith(".gz"):
            return self._lines(_chunks(gzip.open(self._raw)))
        if name.endswith(".zst"):
            return self._lines(_zstd_chunks(self._raw))
        return self._lines(_chunks(self._raw))

    def _lines(self, chunks: Iterator[bytes]) -> Iterator[tuple[str, Record] | BadLine]:
        number = 0
        try:
            for number, line in enumerate(_split_lines(chunks), start=1):
                stripped = line.removeprefix(_BOM) if number == 1 else line
                if not stripped.strip():
                    continue
                where = f"{self.name}:{number}"
                try:
                    yield where, parse_object(stripped)
                except ValueError as error:
                    yield BadLine(where, str(error), line)
        except (EOFError, zlib.error, gzip.BadGzipFile, zstandard.ZstdError) as error:
            raise RecordError(
                f"{self.name}:{number + 1}: the compressed data is damaged or ends early ({error}); expected a "
                f"whole file; fetch or write it again"
            ) from None
        except OSError as error:
            raise UsageError(f"{self.name}:{number + 1}: can't be read on ({error.strerror}); check the disk") from None

    def _json_array_or_lines(self) -> Iterator[tuple[str, Record] | BadLine]:
        """A ``.json`` file: one array of objects (read whole), or JSON lines under another name."""
        head = self._raw.read(4096)
        if not head.removeprefix(_BOM).lstrip().startswith(b"["):
            yield from self._lines(chain([head], _chunks(self._raw)))
            return
        try:
            rows = _parse_slowly((head + self._raw.read()).removeprefix(_BOM))
            if nested_deeper(rows, than=MAX_LEVELS + 1):
                raise ValueError(_TOO_DEEP)
        except ValueError as error:
            raise RecordError(f"{self.name}: {error}; as it begins with '[', one JSON array of objects") from None
        for number, row in enumerate(rows, start=1):
            where = f"{self.name}:{number}"
            if isinstance(row, dict):
                yield where, row
            else:
                yield BadLine(where, f"a JSON {_json_type(row)}; expected a JSON object", to_line(row).rstrip(b"\n"))

    def _parquet_rows(self) -> Iterator[tuple[str, Record] | BadLine]:
        from klear_data.parquet import read_rows

        for number, row in enumerate(read_rows(self._raw, self.name), start=1):
            yield f"{self.name}:{number}", row


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


def _split_lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Lines without their ``\\n`` or ``\\r\\n``."""
    pending: list[bytes] = []
    for chunk in chunks:
        head, newline, rest = chunk.partition(b"\n")
        pending.append(head)
        if not newline:
            continue
        yield b"".join(pending).removesuffix(b"\r")
        *whole, last = rest.split(b"\n")
        for line in whole:
            yield line.removesuffix(b"\r")
        pending = [last]
    tail = b"".join(pending)
    if tail:
        yield tail.removesuffix(b"\r")
