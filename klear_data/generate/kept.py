"""Finished records on disk, so that a run that was killed at any moment goes on after them.

Records are appended to ``FILE.partial`` as they finish, whatever their order, so nothing that was paid for is
lost; when all are there, ``FILE`` is written in the order of the input and the partial file goes. A later run
takes what either file holds, and samples only the rest and the records with rollouts that failed.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections import defaultdict, deque
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from klear_data.errors import UsageError, unwritable
from klear_data.jsonl import parse_object, to_line
from klear_data.records import Record

ADDED = ("sampling", "rollouts")
"""What sampling adds to a record; the rest of it tells which record of the input it is."""


class KeptSink:
    """Takes finished records in any order and lands them in the order of the input.

    :meth:`takes` must be asked about each record of the input, in its order, before the record is written.

    Args:
        path: the output.
        settings: of this run; None stands for a setting that records do not carry.
        ordered: write the output in the order of the input; else as the records finished.

    Attributes:
        kept: records that earlier runs finished.

    Raises:
        UsageError: the path is not plain ``.jsonl`` or can't be written, another run is writing it, or what is
            there was sampled with other settings.
    """

    def __init__(self, path: str, settings: Mapping[str, Any], *, ordered: bool = True) -> None:
        if not path.lower().endswith(".jsonl"):
            raise UsageError(
                f"--output {path}: can't be resumed; expected a .jsonl file with --resume; name one with -o FILE.jsonl"
            )
        self.path = Path(os.path.realpath(path))
        self.partial = self.path.with_name(self.path.name + ".partial")
        self._whole = self.path.with_name(f".{self.path.name}.whole")
        self.kept = 0
        self._settings, self._ordered = settings, ordered
        self._found: defaultdict[bytes, deque[_Place]] = defaultdict(deque)
        self._order: list[_Place | None] = []
        self._waiting: defaultdict[bytes, deque[int]] = defaultdict(deque)
        self._complete: IO[bytes] | None = None
        try:
            self._stream: IO[bytes] = open(self.partial, "a+b")  # noqa: SIM115  (closed in __exit__)
            fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._give_name()
            if self.path.exists():
                self._complete = open(self.path, "rb")  # noqa: SIM115
                self._index(self._complete, self.path)
            end = self._index(self._stream, self.partial)
            self._stream.seek(end)
            self._stream.truncate()  # a last line that was half written
        except BlockingIOError:
            raise UsageError(
                f"{self.partial}: another run is writing it; expected one run at a time; wait for it or stop it"
            ) from None
        except OSError as error:
            raise unwritable(self.path, error) from None
        self._end = end
        self._appended = False
        self._had_partial = end > 0

    def _index(self, stream: IO[bytes], name: Path) -> int:
        """Note the finished records of a file; the length of its whole lines."""
        end = 0
        stream.seek(0)
        for number, line in enumerate(stream, start=1):
            if not line.endswith(b"\n"):
                break
            try:
                record = parse_object(line)
            except ValueError as error:
                self._refuse(f"{name}:{number}: {error}; expected the finished records of an earlier run; cut the "
                             "file before this line, or remove it to begin anew")  # fmt: skip
            problem = self._problem(record)
            if problem is not None:
                self._refuse(
                    f"{name}:{number}: {problem}; expected an earlier run with the same settings; run with those, "
                    "or remove the file to begin anew"
                )
            if not record["sampling"].get("failed"):
                self._found[_key(record)].append((stream, end, len(line)))
                self.kept += 1
            end += len(line)
        return end

    def _refuse(self, message: str) -> None:
        if os.fstat(self._stream.fileno()).st_size == 0:
            self.partial.unlink()
        raise UsageError(message)

    def _problem(self, record: Record) -> str | None:
        sampling = record.get("sampling")
        if not isinstance(sampling, dict) or not isinstance(record.get("rollouts"), list):
            return "a record that was not sampled"
        found = {key: sampling.get(key) for key in self._settings}
        other = {key: value for key, value in found.items() if value != self._settings[key]}
        return f"its records were sampled with {other}" if other else None

    def takes(self, record: Record) -> bool:
        """Give a record of the input its place in the output; true if an earlier run finished it."""
        key = _key(record)
        places = self._found.get(key)
        if places:
            self._order.append(places.popleft())
            self.kept -= 1
            return True
        self._waiting[key].append(len(self._order))
        self._order.append(None)
        return False

    def write(self, record: Record) -> None:
        line = to_line(record)
        self._order[self._waiting[_key(record)].popleft()] = (self._stream, self._end, len(line))
        self._append(line)

    def write_lines(self, data: bytes) -> None:
        """Records of an earlier run come as no lines at all: they are in the file."""
        for line in data.splitlines(keepends=True):
            self.write(parse_object(line))

    def _append(self, line: bytes) -> None:
        try:
            self._stream.write(line)
            self._stream.flush()
        except OSError as error:
            raise unwritable(self.path, error) from None
        self._end += len(line)
        self._appended = True

    def __enter__(self) -> KeptSink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._land()
            elif self._end == 0:
                self.partial.unlink()  # nothing is in it
        except OSError as problem:
            raise unwritable(self.path, problem) from None
        finally:
            self._stream.close()  # and with it the lock
            if self._complete is not None:
                self._complete.close()

    def _land(self) -> None:
        """Write the output.

        Raises:
            UsageError: earlier runs finished records that the input does not hold.
        """
        if self.kept:
            where = self.partial if self._had_partial else self.path
            raise UsageError(
                f"{where}: {self.kept} finished records that the input does not hold; expected the same input; pass "
                "that, or remove the file to begin anew"
            )
        if self._complete is None or self._appended or self._had_partial:
            temporary = self.path.with_name(f".{self.path.name}.resumed.tmp")  # one name: the lock is ours
            with open(temporary, "wb") as out:
                for stream, offset, length in self._places():
                    stream.seek(offset)
                    out.write(stream.read(length))
                out.flush()
                os.fsync(out.fileno())
            os.replace(temporary, self._whole)
            self._give_name()
        self.partial.unlink()

    def _give_name(self) -> None:
        """Make a whole output the output. From when there is one, the partial file's records count no more: a run
        killed between the two steps would else be found to have finished each of them twice."""
        if self._whole.exists():
            os.ftruncate(self._stream.fileno(), 0)
            os.replace(self._whole, self.path)

    def _places(self) -> list[_Place]:
        places = [place for place in self._order if place is not None]
        if len(places) < len(self._order):
            raise AssertionError(f"{self.partial}: a record was not sampled; please report this bug")
        return places if self._ordered else sorted(places, key=lambda place: (place[0] is self._stream, place[1]))


_Place = tuple[IO[bytes], int, int]


def _key(record: Record) -> bytes:
    rest = {key: value for key, value in record.items() if key not in ADDED}
    return hashlib.blake2b(to_line(rest), digest_size=16).digest()
