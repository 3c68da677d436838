"""What ``klear eval`` says at its end: a table for people, JSON for programs, notes on what to look at."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.eval_files import Folder, records_of, write_records
from klear_data.errors import RecordError, UsageError, unwritable
from klear_data.jsonl import STDIO
from klear_data.records import Record, rewards_problem
from klear_data.sink import JsonSink, open_sink

if TYPE_CHECKING:
    from klear_data.evaluation.question import Question

SCHEMA = "klear-eval/1"
_MANY_UNTAGGED = 0.5
_NOT_SAMPLING = ("failed", "prompt_too_long", "appended_to")


@dataclass(frozen=True)
class Shown:
    """What of the summary goes where.

    Attributes:
        k: which pass@k; None for the usual.
        report: a file for the JSON.
        markdown: a file for the table.
        quiet: no progress; the table is still printed.
    """

    k: list[int] | None
    report: str | None
    markdown: str | None
    quiet: bool

    def say(self, line: str) -> None:
        """A line for the user about what is going on."""
        if not self.quiet:
            sys.stderr.write(f"{line}\n")

    def check_k(self, n: int, name: str) -> None:
        """Raise UsageError if there is a k above the samples that will be taken, before they are."""
        if self.k and max(self.k) > n:
            raise UsageError(
                f"--k {max(self.k)}: {name} is sampled {n} times a problem; expected k of at most that many; ask for a "
                f"smaller k, or pass --n {max(self.k)}"
            )


def summarise(
    judged: Sequence[Path], folder: Folder, shown: Shown, about: Mapping[str, Any], *, started: float
) -> None:
    """Count the judged records, and write and print what came out.

    Args:
        judged: files of judged records.
        folder: gets the summary where it is the user's, and the records where they go to a file too.
        shown: what goes where.
        about: how the figures came about, for the JSON; ``seconds`` by phase.
        started: by ``time.perf_counter``, of the whole command.
    """
    from klear_data.evaluation.figures import by_source, figures
    from klear_data.evaluation.tables import by_group_table, summary_table

    questions, sampling = _questions(judged, folder)
    benchmarks = {
        name: {"sampling": sampling[name], **figures(found, k=shown.k)} for name, found in by_source(questions).items()
    }
    notes = [*_notes(benchmarks, limit=about.get("limit"))]
    seconds = {**about["seconds"], "total": time.perf_counter() - started}
    summary = {
        "schema": SCHEMA, **about, "seconds": {name: round(spent, 3) for name, spent in seconds.items()},
        "notes": notes, "benchmarks": benchmarks,
    }  # fmt: skip
    parts = [summary_table(benchmarks), *by_group_table(benchmarks), "\n".join(f"- {note}" for note in notes)]
    text = "\n\n".join(part for part in parts if part) + "\n"
    reports = [shown.report, str(folder.path / "summary.json") if folder.keeps else None]
    tables = [shown.markdown, str(folder.path / "summary.md") if folder.keeps else None]
    for path in filter(None, reports):
        with open_sink(path) if path == STDIO else JsonSink(path) as sink:
            sink.write(summary)
    for path in filter(None, tables):
        write_text(path, text)
    sys.stderr.write(text)
    sys.stderr.flush()


def _questions(judged: Sequence[Path], folder: Folder) -> tuple[list[Question], dict[str, dict[str, Any]]]:
    """Each record as counts, and how each benchmark was sampled; records go to the user's file on the way."""
    from klear_data.evaluation.question import question_of
    from klear_data.reward.math import MathRewarder

    questions: list[Question] = []
    sampling: dict[str, dict[str, Any]] = {}
    with MathRewarder(timeout_s=1.0) as verifier:

        def equal(one: str, other: str) -> bool:
            return one == other or verifier.verify_answer(one, other).verdict == "AC"

        def count(record: Record) -> None:
            question = question_of(record, equal)
            questions.append(question)
            how = {key: value for key, value in (record.get("sampling") or {}).items() if key not in _NOT_SAMPLING}
            sampling.setdefault(question.source, how)

        records = (record for _, record in records_of(judged, rewards_problem))
        if folder.file is not None:
            write_records(folder.file, records, then=count)
        else:
            for record in records:
                count(record)
    if not questions:
        raise RecordError(f"{', '.join(map(str, judged))}: no records; expected at least one; check the file")
    return questions, sampling


def _notes(benchmarks: Mapping[str, Mapping[str, Any]], *, limit: int | None) -> Iterator[str]:
    from klear_data.sources.benchmarks import load_benchmarks

    items = {benchmark.name: benchmark.items for benchmark in load_benchmarks()}
    if any(found["questions"] < 100 for found in benchmarks.values()):
        yield (
            "[95%, questions]: another draw of such questions; by the studentised bootstrap below 100 questions, by t "
            "from there. [95%, samples]: these questions, sampled again."
        )
    if limit is not None:
        yield f"--limit: the first {limit} problems of each only; no score of a benchmark"
    for name, found in benchmarks.items():
        rates, expected = found["rates"], items.get(name)
        if limit is None and expected not in (None, found["questions"]):
            yield f"{name}: {found['questions']} problems, the catalogued version has {expected}: say which one it is"
        if rates["tags_missing"] - rates["truncated"] > _MANY_UNTAGGED:
            yield (
                f"{name}: {100 * rates['tags_missing']:.0f}% of the samples lack think tags and are wrong therefore; "
                "--think closing is for chat templates that open <think>, --think none for models without"
            )
        lost = round((rates["verifier_failed"] + rates["sampling_failed"]) * found["samples"])
        if lost:
            yield f"{name}: {lost} of {found['samples']} samples failed or could not be judged; they count as not right"


def write_text(path: str, text: str) -> None:
    """Write a file, or to stdout.

    Raises:
        UsageError: it can't be written.
    """
    if path == STDIO:
        sys.stdout.write(text)
        return
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise unwritable(Path(path), error) from None
