"""Shards: n runs that each read all rows and keep their own part, and the parts put together again.

A row belongs to the shard that its problem's key falls to, so duplicates meet in one shard. The records of a
part carry a mark, always the last key of the line, that says whose part it is and where the row stood:
``"shard":{"run":"5a…","index":1,"of":4,"at":[0,17]}``. Merging takes the marks off; what is left is, byte for
byte, what one run over everything writes.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from klear_data.errors import UsageError
from klear_data.jsonl import Source, parse_object, to_line

_MARK = re.compile(rb',"shard":(\{"run":"[0-9a-f]{16}","index":\d+,"of":\d+,"at":\[\d+,\d+\]\})(\}\}?)$')


@dataclass(frozen=True)
class Shard:
    """Part ``index`` (from 0) of ``of``.

    >>> Shard.parse("2/4")
    Shard(index=1, of=4)
    """

    index: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """``i/n`` as a user writes it, i from 1.

        Raises:
            UsageError: it says something else.
        """
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
        if found is None or not 1 <= int(found[1]) <= int(found[2]):
            raise UsageError(f"--shard {text}: no shard; expected i/n with 1 ≤ i ≤ n; write 1/4 for the first of four")
        return cls(int(found[1]) - 1, int(found[2]))

    def owns(self, number: int) -> bool:
        return number % self.of == self.index


class Marker:
    """Marks what a shard writes.

    Args:
        run: names the run that the part belongs to.
        shard: the part.
    """

    def __init__(self, run: str, shard: Shard) -> None:
        self._mark = {"run": run, "index": shard.index, "of": shard.of}
        self._files: dict[str, int] = {}
        self._file = 0

    def see(self, name: str) -> None:
        """From now on rows of this file; files are counted as they come, the same in every shard."""
        self._file = self._files.setdefault(name, len(self._files))

    def mark(self, number: int) -> dict[str, Any]:
        return {**self._mark, "at": [self._file, number]}

    def line(self, line: bytes, number: int) -> bytes:
        return line[:-2] + b',"shard":' + orjson.dumps(self.mark(number)) + b"}\n"


@dataclass(frozen=True)
class _Mark:
    run: str
    index: int
    of: int
    at: tuple[int, int]
    rejected: bool


def merge_parts(paths: Sequence[str]) -> Iterator[bytes]:
    """The lines of all parts in the order of the input, without their marks.

    Parts of records may be merged, and parts of rejects. An empty part stands for a shard that kept nothing.

    Raises:
        UsageError: parts of different runs, one twice, or one missing.
    """
    parts = [_Part(path) for path in paths]
    _refuse_incomplete(parts)
    last: tuple[int, int] | None = None
    for at, line, path in heapq.merge(*(part.lines() for part in parts), key=lambda entry: entry[0]):
        if at == last:
            raise UsageError(f"{path}: row {at[1]} stands in another part too; expected each row once; run it again")
        last = at
        yield line


class _Part:
    """One part: its lines as they come, the first looked at beforehand."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._lines = self._read()
        self._first = next(self._lines, None)
        self.mark = None if self._first is None else self._first[0]

    def lines(self) -> Iterator[tuple[tuple[int, int], bytes, str]]:
        following = self._first
        last = (-1, -1)
        while following is not None:
            mark, line = following
            if self.mark is None or (mark.run, mark.index, mark.of) != (self.mark.run, self.mark.index, self.mark.of):
                raise UsageError(f"{self.path}: records of two parts; expected one part a file")
            if mark.at <= last:
                raise UsageError(f"{self.path}: not in the order it was written in; merge before anything sorts")
            last = mark.at
            yield mark.at, line, self.path
            following = next(self._lines, None)

    def _read(self) -> Iterator[tuple[_Mark, bytes]]:
        source = Source(self.path)
        try:
            for batch in source.batches():
                for number, line in zip(batch.numbers, batch.texts(), strict=True):
                    yield _unmarked(line, f"{self.path}:{number}")
        finally:
            source.close()


def _unmarked(line: bytes, where: str) -> tuple[_Mark, bytes]:
    """A line of a part without its mark, and the mark."""
    found = _MARK.search(line)
    if found is not None:
        return _mark(orjson.loads(found[1]), rejected=found[2] != b"}"), line[: found.start()] + found[2]
    record = _parsed(line, where)
    holder = record if "shard" in record else record.get("rejected", {})
    try:
        mark = _mark(holder.pop("shard"), rejected=holder is not record)
    except (KeyError, TypeError, AttributeError):
        raise UsageError(
            f"{where}: no mark of a shard; expected what `klear curate --shard i/n` wrote; name its parts only"
        ) from None
    return mark, to_line(record)[:-1]


def _parsed(line: bytes, where: str) -> dict[str, Any]:
    try:
        return parse_object(line)
    except ValueError as error:
        raise UsageError(f"{where}: {error}; expected a whole part; run that shard again") from None


def _mark(value: dict[str, Any], *, rejected: bool) -> _Mark:
    file, row = value["at"]
    return _Mark(value["run"], value["index"], value["of"], (file, row), rejected)


def _refuse_incomplete(parts: list[_Part]) -> None:
    marks = [(part.path, part.mark) for part in parts if part.mark is not None]
    if not marks:
        return
    first_path, first = marks[0]
    by_index: dict[int, str] = {}
    for path, mark in marks:
        if (mark.run, mark.of) != (first.run, first.of):
            raise UsageError(
                f"{path}: of another run than {first_path}; expected parts of one run: the same input, the same "
                f"options, and one n in --shard i/n; run the missing parts again"
            )
        if mark.rejected != first.rejected:
            kept, dropped = (first_path, path) if mark.rejected else (path, first_path)
            raise UsageError(
                f"{dropped}: rejects, and {kept} holds records; expected parts of one kind; merge each apart"
            )
        if mark.index in by_index:
            other = by_index[mark.index]
            raise UsageError(f"{path}: part {mark.index + 1}/{mark.of}, and so is {other}; expected each part once")
        by_index[mark.index] = path
    missing = [f"{index + 1}/{first.of}" for index in range(first.of) if index not in by_index]
    if len(parts) != first.of:
        raise UsageError(
            f"{first_path}: one of {first.of} parts, but {len(parts)} are named; expected all of them (also those "
            f"without a record); no record of {', '.join(missing) or 'an extra part'} is at hand"
        )
