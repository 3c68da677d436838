"""What a run has prepared, kept beside its output, so that a run that was killed goes on after it.

``FILE.partial`` holds the rows as the spool writes them, ``FILE.partial.journal`` a line for each finished batch:
the numbers that the spool keeps in memory, and a checksum of the input so far. A second run reads the input again
up to there without looking into it, compares the checksum, and goes on; the second pass, which is short, is done
anew, so its result is that of a run that nobody stopped.
"""

from __future__ import annotations

import base64
import fcntl
import os
import zlib
from array import array
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson

from klear_data.curation.prepared import Prepared
from klear_data.curation.spool import as_plain, from_plain
from klear_data.errors import UsageError, unwritable
from klear_data.jsonl import STDIO, Batch


class Journal:
    """The journal of one output file.

    Args:
        output: the file that the run will write.
        settings: of the run; a journal with others is not gone on with.

    Attributes:
        lines: where the spool keeps its rows.

    Raises:
        UsageError: no file to resume, another run at work, or a journal of other settings.
    """

    def __init__(self, output: str, settings: dict[str, Any]) -> None:
        if output == STDIO:
            raise UsageError("--resume: nothing to go on with on stdout; expected a file; name one with -o FILE")
        target = os.path.realpath(output)
        self._paths = Path(f"{target}.partial"), Path(f"{target}.partial.journal")
        try:
            for path in self._paths:
                path.touch()
            self.lines = open(self._paths[0], "r+b")  # noqa: SIM115  (the spool closes it)
            fcntl.flock(self.lines, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._journal = open(self._paths[1], "r+b")  # noqa: SIM115  (open until the process ends)
        except BlockingIOError:
            raise UsageError(
                f"{self._paths[0]}: another run is writing it; expected one run at a time; wait for it or stop it"
            ) from None
        except OSError as error:
            raise unwritable(Path(output), error) from None
        self._crc = 0
        self._rows = 0
        self._under_way: deque[int] = deque()
        self._entries = self._read(orjson.loads(orjson.dumps(settings)))

    def _read(self, settings: dict[str, Any]) -> list[dict[str, Any]]:
        """The whole lines of the journal; a half one at the end is cut off."""
        self._journal.seek(0)
        whole = self._journal.read().split(b"\n")[:-1]
        self._journal.seek(sum(len(line) + 1 for line in whole))
        self._journal.truncate()
        if not whole:
            self._append({"settings": settings})
            return []
        first, *entries = map(orjson.loads, whole)
        if first.get("settings") != settings:
            raise UsageError(
                f"{self._paths[1]}: of a run with other settings; expected the same options, sources and benchmarks; "
                f"run with those, or remove {self._paths[0].name} and {self._paths[1].name} to begin anew"
            )
        return entries

    def earlier(self) -> Iterator[tuple[Prepared, list[int]]]:
        """The batches that were finished, without their lines, and what each row takes in the file."""
        for entry in self._entries:
            self._rows += entry["read"]
            self._crc = entry["crc"]
            yield _restored(entry), entry["lengths"]

    def rest(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The batches of the input after those.

        Raises:
            UsageError: the input is not the one that the journal is of.
        """
        left, crc = self._rows, 0
        for batch in batches:
            if left:
                skipped = batch.part(0, left)
                left -= len(skipped)
                crc = _checksum(skipped, crc)
                batch = batch.part(len(skipped))
                if not left and crc != self._crc:
                    raise self._other_input()
            if batch.lines:
                crc = _checksum(batch, crc)
                self._under_way.append(crc)
                yield batch
        if left:
            raise self._other_input()

    def _other_input(self) -> UsageError:
        return UsageError(
            f"{self._paths[1]}: {self._rows:,} rows are done, and the input is not what it was then; expected the "
            f"same input; pass that, or remove {self._paths[0].name} and {self._paths[1].name} to begin anew"
        )

    def add(self, ready: Prepared, lengths: list[int]) -> None:
        """Note a finished batch, whose lines are in the file."""
        self._append({**_as_json(ready), "lengths": lengths, "crc": self._under_way.popleft()})

    def _append(self, entry: dict[str, Any]) -> None:
        try:
            self._journal.write(orjson.dumps(entry) + b"\n")
            self._journal.flush()
        except OSError as error:
            raise unwritable(self._paths[1], error) from None

    def remove(self) -> None:
        """The output is written: nothing is left to go on with."""
        for path in self._paths:
            path.unlink(missing_ok=True)


def _checksum(batch: Batch, crc: int) -> int:
    return zlib.crc32(b"\n".join(batch.lines) + b"\n", crc)


def _as_json(ready: Prepared) -> dict[str, Any]:
    return {
        "name": ready.name,
        "read": ready.read,
        "foreign": ready.foreign,
        "numbers": ready.numbers.tolist(),
        "keys": ready.keys.hex(),
        "golds": ready.golds.tolist(),
        "flags": ready.flags.hex(),
        "sources": ready.sources,
        "rollouts": ready.rollouts.tolist(),
        "bad": [[number, problem, base64.b64encode(raw).decode()] for number, problem, raw in ready.bad],
        "suspects": [[key.hex(), as_plain({"verdict": verdict})] for key, verdict in ready.suspects],
        "all_keys": ready.all_keys.hex(),
    }


def _restored(entry: dict[str, Any]) -> Prepared:
    return Prepared(
        entry["name"],
        entry["read"],
        foreign=entry["foreign"],
        numbers=array("q", entry["numbers"]),
        keys=bytearray.fromhex(entry["keys"]),
        golds=array("Q", entry["golds"]),
        flags=bytearray.fromhex(entry["flags"]),
        sources=entry["sources"],
        rollouts=array("I", entry["rollouts"]),
        bad=[(number, problem, base64.b64decode(raw)) for number, problem, raw in entry["bad"]],
        suspects=[(bytes.fromhex(key), from_plain(note)["verdict"]) for key, note in entry["suspects"]],
        all_keys=bytes.fromhex(entry["all_keys"]),
    )
