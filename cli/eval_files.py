"""The files of an evaluation: the folder that ``klear eval -o`` fills, and reading it back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from klear_data.errors import RecordError, UsageError, unwritable
from klear_data.jsonl import STDIO, BadLine, Source
from klear_data.records import Check, Record
from klear_data.sink import open_sink
from klear_data.sources.paths import SUFFIXES

_PROBLEMS, _ROLLOUTS, _JUDGED = ".problems.jsonl", ".rollouts.jsonl", ".jsonl"
_SETTINGS = "eval.json"


@dataclass(frozen=True)
class Folder:
    """Where an evaluation lies.

    Attributes:
        path: the folder.
        file: where the judged records go too, for ``-o FILE``.
        keeps: the folder is the user's and stays.
    """

    path: Path
    file: str | None
    keeps: bool

    def problems(self, name: str) -> Path:
        """What is asked."""
        return self.path / f"{name}{_PROBLEMS}"

    def rollouts(self, name: str) -> Path:
        """What ``klear sample`` made of it."""
        return self.path / f"{name}{_ROLLOUTS}"

    def judged(self, name: str) -> Path:
        """What the reward stages made of that."""
        return self.path / f"{name}{_JUDGED}"

    def replayed(self, source: Path) -> Path:
        """Where the verdicts on a file of rollouts go."""
        stem = source.name.removesuffix(_ROLLOUTS)
        return self.judged(next((stem.removesuffix(suffix) for suffix in SUFFIXES if stem.endswith(suffix)), stem))

    def agree_on(self, judging: dict[str, object]) -> None:
        """Remove verdicts that an earlier run found by other rules, and write down the present ones."""
        path = self.path / _SETTINGS
        before = json.loads(path.read_bytes()) if path.exists() else None
        if before != judging:
            for stale in self.path.glob(f"*{_JUDGED}"):
                if not stale.name.endswith((_PROBLEMS, _ROLLOUTS)):
                    stale.unlink()
            path.write_text(json.dumps(judging) + "\n", encoding="utf-8")

    def is_judged(self, name: str) -> bool:
        """True if the verdicts are there and no rollout is newer than they are."""
        judged = self.judged(name)
        return judged.exists() and judged.stat().st_mtime_ns >= self.rollouts(name).stat().st_mtime_ns


def is_file_name(output: str) -> bool:
    """True for what can only be meant as a file of records."""
    return output == STDIO or output.lower().endswith(SUFFIXES)


@contextmanager
def work_folder(output: str | None, *, keep: bool) -> Iterator[Folder]:
    """The folder to work in.

    Args:
        output: a folder, a file, ``-``, or None.
        keep: beside a file, keep the folder as ``FILE.eval``; else it goes.

    Raises:
        UsageError: it can't be made.
    """
    file = output if output is not None and is_file_name(output) else None
    if output is None or (file is not None and not keep):
        with TemporaryDirectory(prefix="klear-eval-") as name:
            yield Folder(Path(name), file, False)
        return
    path = Path(output if file is None else f"{output}.eval")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(path, error) from None
    yield Folder(path, file, True)


def files_of(source: str, *, sampled: bool = False) -> list[Path]:
    """The record files behind ``--from`` and ``klear compare``.

    Args:
        source: a folder that ``klear eval`` filled, or a file of records.
        sampled: rather the rollouts than their verdicts.

    Raises:
        UsageError: neither, or a pipe.
    """
    path = Path(source)
    if source == STDIO or path.is_fifo():
        raise UsageError(
            f"{source}: a pipe; expected a folder or a file, which is read twice; put the records in a file"
        )
    if not path.is_dir():
        return [path]
    names = [one.name.removesuffix(_ROLLOUTS) for one in sorted(path.glob(f"*{_ROLLOUTS}"))]
    folder = Folder(path, None, True)
    found = [
        folder.rollouts(name) if sampled or not folder.judged(name).exists() else folder.judged(name) for name in names
    ]
    found = found or [one for one in sorted(path.glob(f"*{_JUDGED}")) if not one.name.endswith(_PROBLEMS)]
    if not found:
        raise UsageError(f"{source}: no records in this folder; expected one that `klear eval -o` filled; check it")
    return found


def records_of(paths: Iterable[Path | str], check: Check) -> Iterator[tuple[str, Record]]:
    """``(where, record)`` of files, each checked.

    Raises:
        RecordError: a malformed line.
        UsageError: a file that isn't there.
    """
    for path in paths:
        source = Source(str(path))
        try:
            for item in source:
                if isinstance(item, BadLine):
                    raise RecordError(f"{item.where}: {item.problem}; mend the line")
                where, record = item
                problem = check(record)
                if problem is not None:
                    raise RecordError(f"{where}: {problem}")
                yield where, record
        finally:
            source.close()


def write_records(path: Path | str, records: Iterable[Record], *, then: Callable[[Record], None] | None = None) -> None:
    """Write records to a file that is complete or absent; ``then`` sees each."""
    with open_sink(str(path)) as sink:
        for record in records:
            sink.write(record)
            if then is not None:
                then(record)
