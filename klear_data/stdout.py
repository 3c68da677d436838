"""Records on stdout: for a person, a file, or the next stage of a pipe, which must notice when this one dies."""

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO

from klear_data.errors import UsageError, unwritable
from klear_data.jsonl import to_line
from klear_data.records import Record


class ClosedPipe(Exception):
    """The reader of stdout has gone (``| head -1``): time to stop, quietly."""


class StdoutSink:
    """Records on stdout, flushed often enough that the next stage of a pipe never waits on a buffer.

    Into a pipe the end of the latest record (its last bracket and its newline) waits for the next record, or for
    the orderly end of the stage. A stage that dies, by an error, by SIGKILL or for want of memory, so leaves a
    stream that breaks off inside a record, and whoever reads it notices.
    """

    _flush_every_s = 0.2

    def __init__(self) -> None:
        if sys.stdout is None:
            raise UsageError("<stdout>: closed; expected a place for the records; name a file with -o")
        self._stream = sys.stdout.buffer
        self._flushed_at_s = 0.0
        self._holds_back = _is_pipe(self._stream)
        self._held = b""

    def write(self, record: Record) -> None:
        self.write_lines(to_line(record))

    def write_lines(self, data: bytes) -> None:
        if not data:
            return
        with stdout_errors():
            if self._holds_back:
                self._stream.write(self._held)
                data, self._held = data[:-2], data[-2:]
            self._stream.write(data)
            now_s = time.monotonic()
            if now_s - self._flushed_at_s > self._flush_every_s:
                self._stream.flush()
                self._flushed_at_s = now_s

    def __enter__(self) -> StdoutSink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with stdout_errors():
            if kind is None:
                self._stream.write(self._held)
            self._stream.flush()


def _is_pipe(stream: IO[bytes]) -> bool:
    try:
        mode = os.fstat(stream.fileno()).st_mode
    except (OSError, ValueError):  # no descriptor behind it, as in a test that captures the output
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


@contextmanager
def stdout_errors() -> Iterator[None]:
    """What writing to stdout can fail with, as klear's own errors.

    Raises:
        ClosedPipe: its reader has gone.
        UsageError: it can't be written (``> /dev/full``).
    """
    try:
        yield
    except BrokenPipeError:
        raise ClosedPipe from None
    except OSError as error:
        raise unwritable(Path("<stdout>"), error) from None
