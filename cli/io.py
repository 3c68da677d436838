"""One run of a stage: reads records, hands them to the stage, and keeps the books.

What holds for every stage is here and only here: line numbers in errors, ``--quarantine``, ``--rejects``,
``--report``, complete-or-absent files, in = out + rejected + quarantined, Ctrl-C, and a closed pipe.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any

from cli.options import StageFiles
from cli.progress import Progress
from cli.tables import Table
from klear_data.errors import KlearError, RecordError
from klear_data.jsonl import STDIO, BadLine, Batch, Source, to_line
from klear_data.records import Check, Record, problem_of
from klear_data.sink import JsonSink, Sink, open_sink
from klear_data.stage import Drop, Fan, Ledger, Lines, Outcome


class Interrupted(KlearError):
    """Ctrl-C: what was in flight is finished (exit 130)."""

    exit_code = 130


class StageRun:
    """The running stage; see :func:`run_stage` for the usual way in.

    Args:
        stage: its name on the command line.
        files: from the shared options.
        open_output: makes the sink of ``--output`` where its suffix does not say all.
        keeps: that sink keeps finished records on disk when the run is interrupted.
    """

    def __init__(
        self,
        stage: str,
        files: StageFiles,
        *,
        open_output: Callable[[str], Sink] = open_sink,
        keeps: bool = False,
    ) -> None:
        self.files = files
        self._open_output = open_output
        self._keeps = keeps
        self.ledger = Ledger(stage)
        self._progress = Progress(quiet=files.quiet)
        self._interrupted = False
        self._source: Source | None = None
        self._arrived: deque[tuple[Record, bytes]] = deque()
        self._rejects: Sink | None = None
        self._quarantine: Sink | None = None

    def records(self, check: Check = problem_of) -> Iterator[Record]:
        """The input's records that pass a check; the others are quarantined or stop the run.

        Raises:
            RecordError: a malformed line, and no ``--quarantine``.
        """
        for where, record, line in self._with_lines(self.files.input):
            problem = check(record)
            if problem is not None:
                self.bad_line(BadLine(where, problem, to_line(record).rstrip(b"\n")))
            else:
                self._arrived.append((record, line))
                yield record

    def _with_lines(self, path: str) -> Iterator[tuple[str, Record, bytes]]:
        self._source = Source(path)
        try:
            following = self._source.with_lines()
            # Asked before the next line is: a pipe may be long in giving it.
            while self.ledger.read != self.files.limit:
                item = next(following, None)
                if item is None or self._interrupted:
                    return
                self.ledger.read += 1
                if isinstance(item, BadLine):
                    self.bad_line(item)
                else:
                    yield item
        finally:
            self._source.close()

    def file_batches(self, path: str, *, at_most: int | None = None) -> Iterator[Batch]:
        """The lines of a file, a batch at a time; no more than so many lines."""
        self._source = Source(path)
        left = at_most
        try:
            for batch in self._source.batches():
                yield batch if left is None else batch.part(0, left)
                left = None if left is None else left - len(batch)
                if left is not None and left <= 0:
                    return
        finally:
            self._source.close()

    def counted(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Count what comes in, and stop at ``--limit`` or after Ctrl-C."""
        following = iter(batches)
        while self.ledger.read != self.files.limit:
            batch = next(following, None)
            if batch is None or self._interrupted:
                return
            if self.files.limit is not None:
                batch = batch.part(0, self.files.limit - self.ledger.read)
            self.ledger.read += len(batch)
            self._show_progress()
            yield batch

    def bad_line(self, bad: BadLine) -> None:
        """Set a line aside, or stop.

        Raises:
            RecordError: there is no ``--quarantine``.
        """
        if self._quarantine is None:
            raise RecordError(
                f"{bad.where}: {bad.problem}; mend the line, or pass --quarantine FILE to set such lines aside"
            )
        self._quarantine.write(bad.as_record())
        self.ledger.quarantined += 1

    def run(self, outcomes: Callable[[], Iterable[Outcome]]) -> None:
        """Write what the stage makes of the records, then close the books.

        Raises:
            Interrupted: after Ctrl-C.
            AccountingError: a record was lost or invented.
        """
        with self._sigint(), ExitStack() as stack:
            # All are open before the stage starts: it may read ahead as it is built, and a place that can't be
            # written is said before the work and not after it.
            report = self._open_report(stack)
            self._rejects = self._optional_sink(stack, self.files.rejects)
            self._quarantine = self._optional_sink(stack, self.files.quarantine)
            output = stack.enter_context(self._open_output(self.files.output))
            for outcome in outcomes():
                self._put(outcome, output)
                self._show_progress()
            self._progress.close()
            self.ledger.check()
            if self._interrupted and self.files.output != STDIO:
                kept = "what is finished is kept" if self._keeps else "not written"
                raise Interrupted(f"{self.files.output}: {kept}, the run was interrupted; run it again")
            if report is not None:
                report.write({**self.ledger.as_dict(), "seconds": round(self._progress.seconds, 3)})
        if not self.files.quiet:
            sys.stderr.write(closing_table(self.ledger, self._progress.seconds))
            sys.stderr.flush()
        if self._interrupted:
            raise Interrupted("interrupted: the records read so far are written; run again for the rest")

    def _show_progress(self) -> None:
        self._progress.update(self.ledger, self._source.fraction_read() if self._source else None)

    def _open_report(self, stack: ExitStack) -> Sink | None:
        path = self.files.report
        return None if path is None else stack.enter_context(open_sink(path) if path == STDIO else JsonSink(path))

    def _optional_sink(self, stack: ExitStack, path: str | None) -> Sink | None:
        return None if path is None else stack.enter_context(open_sink(path))

    def _put(self, outcome: Outcome, output: Sink) -> None:
        before, line = self._arrived.popleft() if self._arrived else (None, b"")
        if isinstance(outcome, Drop):
            self.ledger.rejected[outcome.reason] += 1
            if self._rejects is not None:
                self._rejects.write(outcome.as_record(self.ledger.stage))
            return
        if isinstance(outcome, Lines):
            output.write_lines(outcome.data)
            self.ledger.out += outcome.count
            self.ledger.lines += outcome.count
            return
        if line and _unchanged(before, outcome):
            output.write_lines(line + b"\n")
            written = 1
        else:
            records = outcome.lines if isinstance(outcome, Fan) else [outcome]
            for record in records:
                output.write(record)
            written = len(records)
        self.ledger.out += 1
        self.ledger.lines += written

    @contextmanager
    def _sigint(self) -> Iterator[None]:
        """The first Ctrl-C stops the reading, a second one stops the stage where it is."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def on_sigint(_signal: int, _frame: FrameType | None) -> None:
            if self._interrupted:
                raise KeyboardInterrupt
            self._interrupted = True
            self._progress.close()
            sys.stderr.write("interrupted: finishing what is in flight (Ctrl-C again to stop at once)\n")

        before = signal.signal(signal.SIGINT, on_sigint)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


def _unchanged(before: Record | None, after: Outcome) -> bool:
    """True if a stage hands on what came in: then its line goes on too, with its spacing and its order of keys."""
    if after is before:
        return True
    return isinstance(after, dict) and before is not None and after.keys() == before.keys() and _same(before, after)


def _same(before: Record, after: Record) -> bool:
    return to_line(before) == to_line(after)  # as text: 1 == 1.0 == True in Python


def run_stage(
    stage: str,
    files: StageFiles,
    transform: Callable[[Iterator[Record]], Iterable[Outcome]],
    *,
    check: Check = problem_of,
    ledger_notes: Callable[[], dict[str, Any]] | None = None,
    open_output: Callable[[str], Sink] = open_sink,
    keeps: bool = False,
) -> None:
    """Run a stage that maps a stream of records to a stream of outcomes.

    Args:
        stage: its name on the command line.
        files: from the shared options.
        transform: records in, outcomes out, in order.
        check: what a record must have for this stage.
        ledger_notes: called after the last record; further counts for the report and the closing table.
        open_output, keeps: see :class:`StageRun`.
    """
    run = StageRun(stage, files, open_output=open_output, keeps=keeps)

    def outcomes() -> Iterator[Outcome]:
        yield from transform(run.records(check))
        if ledger_notes is not None:
            run.ledger.notes.update(ledger_notes())

    run.run(outcomes)


def closing_table(ledger: Ledger, seconds: float) -> str:
    """The stage's counts as a person reads them; the drops by reason, most first."""
    lines = f"  lines {ledger.lines:,}" if ledger.lines != ledger.out else ""
    head = (
        f"klear {ledger.stage}: in {ledger.read:,}  out {ledger.out:,}{lines}  "
        f"dropped {ledger.rejected.total():,}  quarantined {ledger.quarantined:,}  ({seconds:.1f} s)"
    )
    rows = [(reason, f"{count:,}") for reason, count in ledger.rejected.most_common()]
    notes = [(key, value) for key, value in ledger.notes.items() if not isinstance(value, Table)]
    rows += [(key.replace("_", " "), _note(value)) for key, value in notes]
    width = max((len(name) for name, _ in rows), default=0)
    tables = [str(value) for value in ledger.notes.values() if isinstance(value, Table)]
    return "\n".join([head, *(f"  {name:<{width}}  {value}" for name, value in rows), *tables]) + "\n"


def _note(value: object) -> str:
    if isinstance(value, dict):
        return "  ".join(f"{key} {_note(inner)}" for key, inner in value.items())
    return f"{value:,}" if isinstance(value, int) else f"{value}"
