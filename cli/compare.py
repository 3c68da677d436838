"""``klear compare``: two evaluations, question by question."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.eval_files import files_of, records_of, write_records
from cli.options import examples
from cli.summary import write_text
from klear_data.errors import RecordError
from klear_data.jsonl import STDIO
from klear_data.records import Record, rewards_problem
from klear_data.sink import JsonSink, open_sink

if TYPE_CHECKING:
    from klear_data.evaluation.compare import Pair
    from klear_data.evaluation.question import Question

EXAMPLES = examples(
    "klear compare runs/sft runs/rl -o moved.jsonl",
    "klear compare before.jsonl after.jsonl --top 20 --report comparison.json",
)
SCHEMA = "klear-compare/1"
_KIND = {"AC": "right", "NA": "no answer", "FE": "no tags", "XX": "not judged"}


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="A folder of `klear eval -o`, or a file of judged records.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another one, on the same questions.")],
    output: Annotated[
        str | None, typer.Option("-o", "--output", metavar="PATH|-", help="The questions that moved, with rollouts.")
    ] = None,
    top: Annotated[int, typer.Option(min=0, help="How many of them to print.")] = 10,
    report: Annotated[str | None, typer.Option(metavar="PATH", help="Write the comparison here as JSON.")] = None,
    markdown: Annotated[str | None, typer.Option(metavar="PATH", help="Write the tables here.")] = None,
) -> None:
    """Compare two evaluations: paired differences over the questions, with intervals and a sign-flip test."""
    from klear_data.evaluation.compare import comparison, moved, pairs_of

    of_a, of_b = _read(a, keep=output is not None), _read(b, keep=output is not None)
    pairs, only_a, only_b = pairs_of(of_a.questions, of_b.questions)
    if not pairs:
        raise RecordError(f"{a}, {b}: no question in common; expected the same benchmark in both; check the paths")
    grouped: dict[str, list[Pair]] = {}
    for pair in pairs:
        grouped.setdefault(pair.a.source, []).append(pair)
    found = {name: comparison(group) for name, group in grouped.items()}
    summary = {"schema": SCHEMA, "a": a, "b": b, "only_a": only_a, "only_b": only_b, "benchmarks": found}
    if report is not None:
        with open_sink(report) if report == STDIO else JsonSink(report) as sink:
            sink.write(summary)
    changed = moved(pairs)
    text = _text(summary, _movers(changed[:top], of_a, of_b))
    if markdown is not None:
        write_text(markdown, text)
    sys.stderr.write(text)
    if output is not None:
        write_records(output, (_moved_record(pair, of_a, of_b) for pair in changed))


@dataclass(frozen=True)
class _Side:
    """One evaluation: its questions, and by their ``id()`` (equal counts do not make one of two) what they hold."""

    questions: list[Question]
    outcomes: dict[int, str]
    records: dict[int, Record]


def _read(source: str, *, keep: bool) -> _Side:
    """Count the records of an evaluation; the records themselves stay in memory only where they are wanted."""
    from klear_data.evaluation.question import question_of

    side = _Side([], {}, {})
    for _, record in records_of(files_of(source), rewards_problem):
        question = question_of(record)
        side.questions.append(question)
        side.outcomes[id(question)] = _outcomes(record["rollouts"])
        if keep:
            side.records[id(question)] = record
    return side


def _moved_record(pair: Pair, of_a: _Side, of_b: _Side) -> Record:
    a, b = of_a.records[id(pair.a)], of_b.records[id(pair.b)]
    return {
        "id": pair.a.id,
        "data_source": pair.a.source,
        "difference": pair.difference,
        "prompt": a["prompt"],
        "reward_model": a["reward_model"],
        "a": {"sampling": a.get("sampling"), "rollouts": a["rollouts"]},
        "b": {"sampling": b.get("sampling"), "rollouts": b["rollouts"]},
    }


def _text(summary: dict[str, Any], movers: list[list[str]]) -> str:
    from klear_data.evaluation.tables import interval, percent, table

    rows = [
        [
            name, f"{one['questions']} × {one['n'][0]}, {one['n'][1]}", percent(one["a"]), percent(one["b"]),
            f"{percent(one['difference']['value'], signed=True)} "
            f"{interval(one['difference']['over_questions'], signed=True)}",
            interval(one["difference"]["over_samples"], signed=True),
            f"{one['sign_flip']['p']:.3g}", f"{one['better']} / {one['worse']}",
        ]
        for name, one in summary["benchmarks"].items()
    ]  # fmt: skip
    head = ["benchmark", "questions × n", "A", "B", "B − A [95%, questions]", "[95%, samples]", "p", "better / worse"]
    parts = [f"A = {summary['a']}, B = {summary['b']}", table(head, rows)]
    if movers:
        parts.append(table(["question", "A", "B", "p", "A's samples", "B's samples"], movers))
    alone = [f"only {side.upper()} has {count} questions" for side in "ab" if (count := summary[f"only_{side}"])]
    return "\n\n".join([*parts, *alone]) + "\n"


def _movers(pairs: Sequence[Pair], of_a: _Side, of_b: _Side) -> list[list[str]]:
    from klear_data.evaluation.compare import fisher

    return [
        [
            f"{pair.a.source} {pair.a.item or pair.a.id}", f"{pair.a.correct}/{pair.a.samples}",
            f"{pair.b.correct}/{pair.b.samples}", f"{fisher(pair):.2g}",
            of_a.outcomes[id(pair.a)], of_b.outcomes[id(pair.b)],
        ]
        for pair in pairs
    ]  # fmt: skip


def _outcomes(rollouts: Sequence[dict[str, Any]]) -> str:
    """The most frequent outcomes of some samples: ``right ×5, 204 ×2, no answer ×1``."""
    kinds = Counter(map(_outcome, rollouts))
    return ", ".join(f"{kind} ×{count}" for kind, count in kinds.most_common(3)) or "none"


def _outcome(rollout: dict[str, Any]) -> str:
    verdict = rollout["verdict"]
    if verdict in _KIND:
        return _KIND[verdict]
    answer = rollout.get("answer")
    if answer is None:
        return str(verdict)
    flat = " ".join(str(answer).split()).replace("|", "\\|")
    return flat if len(flat) <= 20 else f"{flat[:19]}…"
