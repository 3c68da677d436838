"""``klear audit-decontamination``: how many edited copies of benchmark items the decontamination finds."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from cli.decontamination import benchmark_items, benchmark_names, policy_of
from cli.options import Input, Limit, Quiet, Report, examples, say, split_commas, stdin_once
from klear_data.errors import RecordError
from klear_data.jsonl import STDIO
from klear_data.records import Record

if TYPE_CHECKING:
    from klear_data.contamination.audit import Audit

EXAMPLES = examples(
    "klear audit-decontamination curated.jsonl --decontaminate math500.jsonl,aime24.qs.jsonl",
    "klear audit-decontamination train.jsonl --decontaminate benchmarks/ --per-edit 1000 --report audit.json",
)


def audit_decontamination(
    input: Input = STDIO,
    *,
    decontaminate: Annotated[
        list[str], typer.Option(metavar="NAME|FILE|DIR|GLOB", help="Benchmarks whose problems are planted.")
    ],
    ngram: Annotated[int, typer.Option(min=2, help="Words in a row that make a problem contaminated.")] = 9,
    on: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CLASS=POLICY", help="drop, review, keep or off, by class of evidence.", show_default="drop"
        ),
    ] = None,
    per_edit: Annotated[int, typer.Option(min=0, help="Benchmark problems drawn for each edit; 0 is all.")] = 200,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
    limit: Limit = None,
    report: Report = None,
    quiet: Quiet = False,
) -> None:
    """Plant edited copies of benchmark problems among training problems, and print how many are found.

    Nothing is changed or written but the report: it has every figure and what convicts training problems.
    """
    from klear_data.contamination import Detector, DetectorOptions
    from klear_data.contamination.audit import audit

    specs = benchmark_names(decontaminate)
    stdin_once(input, report, *specs)
    policy = policy_of(split_commas(on or []))
    detector = Detector(benchmark_items(specs), DetectorOptions(n=ngram, policy=policy))
    result = audit(detector, _problems(input, limit), seed=seed, per_edit=per_edit or None)
    if report is not None:
        _write(report, {**result.as_dict(), **detector.notes()})
    if not quiet and report != STDIO:
        say(table(result))


def table(result: Audit) -> str:
    """The audit as a person reads it."""
    lines = [f"{'edit':<20} {'planted':>7} {'found':>7}  found as"]
    for planted in result.edits:
        found = "-" if planted.recall is None else f"{planted.recall:.1%}"
        classes = "  ".join(f"{name} {count}" for name, count in planted.classes.items())
        name = planted.edit if planted.light else f"{planted.edit} *"
        lines.append(f"{name:<20} {planted.planted:>7,} {found:>7}  {classes}")
    flagged = "  ".join(f"{name} {count:,}" for name, count in result.flagged.items()) or "none"
    return "\n".join(
        [
            *lines,
            "* more than a light edit",
            "",
            f"clean problems given a sentence that many items share: {result.control_planted:,}, "
            f"dropped {result.control_dropped:,}",
            f"training problems: {result.problems:,}, of which flagged: {flagged}",
        ]
    )


def _problems(path: str, limit: int | None) -> list[Record]:
    """The problems of a file in any schema that curation reads.

    Raises:
        RecordError: a malformed line, or no problem at all.
    """
    from klear_data.jsonl import BadLine, Source
    from klear_data.sources import to_record

    records: list[Record] = []
    source = Source(path)
    try:
        for row in islice(source, limit):
            if isinstance(row, BadLine):
                raise RecordError(f"{row.where}: {row.problem}; mend the line")
            where, raw = row
            try:
                records.append(to_record(raw, where, ability="math"))
            except ValueError as error:
                raise RecordError(f"{where}: {error}") from None
    finally:
        source.close()
    if not records:
        raise RecordError(f"{path}: no problems in it; expected at least one record; check the file")
    return records


def _write(path: str, report: Record) -> None:
    from klear_data.sink import JsonSink, open_sink

    with open_sink(path) if path == STDIO else JsonSink(path) as sink:
        sink.write(report)
