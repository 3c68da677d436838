"""Where records go: stdout, or a file that is complete or absent."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from types import TracebackType
from typing import IO, Protocol

import zstandard

from klear_data.errors import UsageError, unwritable
from klear_data.jsonl import STDIO, parse_object, to_line
from klear_data.records import Record
from klear_data.stdout import ClosedPipe, StdoutSink, stdout_errors

__all__ = [
    "ClosedPipe", "FileSink", "JsonSink", "ParquetSink", "Sink", "StdoutSink",
    "open_sink", "stdout_errors", "unwritable",
]  # fmt: skip


class Sink(Protocol):
    """Takes records; as a context manager it lands them when its block ends without an error."""

    def write(self, record: Record) -> None: ...

    def write_lines(self, data: bytes) -> None:
        """Records that are whole lines already: they are written as they stand."""

    def __enter__(self) -> Sink: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class FileSink:
    """Records in a file, written beside it under a temporary name and renamed at the end.

    The suffix picks the form: ``.jsonl``, ``.gz``, ``.zst``, ``.parquet``. A link is followed. What is no
    regular file (``/dev/null``, a named pipe) must not be replaced by one and is written in place.

    Raises:
        UsageError: the folder is missing or can't be written, or the disk is full.
    """

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        if self.path.is_dir():
            raise UsageError(f"{path or repr(path)}: a folder; expected a file to write; name a file inside it")
        self._target = Path(os.path.realpath(path))
        self._in_place = self.path.exists() and not self.path.is_file()
        self._temporary = self._target.with_name(f".{self._target.name}.{os.getpid()}.tmp")
        try:
            self._raw: IO[bytes] = open(self.path if self._in_place else self._temporary, "wb")  # noqa: SIM115
        except OSError as error:
            raise unwritable(self.path, error) from None
        self._stream = self._encoder()

    def _encoder(self) -> IO[bytes]:
        name = self.path.name.lower()
        if name.endswith(".gz"):
            # mtime=0: the same records give the same bytes.
            return gzip.GzipFile(filename="", mode="wb", fileobj=self._raw, mtime=0)  # type: ignore[return-value]
        if name.endswith(".zst"):
            return zstandard.ZstdCompressor().stream_writer(self._raw, closefd=False)
        return self._raw

    def write(self, record: Record) -> None:
        try:
            self._write(record)
        except OSError as error:
            raise unwritable(self.path, error) from None

    def write_lines(self, data: bytes) -> None:
        try:
            self._write_lines(data)
        except OSError as error:
            raise unwritable(self.path, error) from None

    def _write(self, record: Record) -> None:
        self._stream.write(to_line(record))

    def _write_lines(self, data: bytes) -> None:
        self._stream.write(data)

    def _finish(self) -> None:
        if self._stream is not self._raw:
            self._stream.close()
        self._raw.flush()
        if self._in_place:
            return
        os.fsync(self._raw.fileno())
        self._raw.close()
        os.replace(self._temporary, self._target)

    def __enter__(self) -> FileSink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        except OSError as problem:
            raise unwritable(self.path, problem) from None
        finally:
            self._discard()

    def _discard(self) -> None:
        try:
            self._raw.close()
        except OSError:
            pass  # a full disk fails once more on the buffered rest; the file goes anyway
        self._temporary.unlink(missing_ok=True)


class ParquetSink(FileSink):
    """Records in a Parquet file (see :mod:`klear_data.parquet`)."""

    def __init__(self, path: str) -> None:
        from klear_data.parquet import ParquetWriter

        super().__init__(path)
        self._writer = ParquetWriter(self._raw)

    def _write(self, record: Record) -> None:
        self._writer.write(record)

    def _write_lines(self, data: bytes) -> None:
        for line in data.split(b"\n")[:-1]:
            self._writer.write(parse_object(line))

    def _finish(self) -> None:
        self._writer.finish()
        super()._finish()


class JsonSink(FileSink):
    """One object in a file of its own, indented for reading; complete or absent like every output."""

    def _write(self, record: Record) -> None:
        self._stream.write(json.dumps(record, ensure_ascii=False, indent=2).encode(errors="backslashreplace") + b"\n")


def open_sink(path: str) -> Sink:
    """A sink for a path; ``-`` is stdout."""
    if path == STDIO:
        return StdoutSink()
    return ParquetSink(path) if path.lower().endswith(".parquet") else FileSink(path)
