"""``klear label``: how hard each problem was for the model that wrote the rollouts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import typer

from cli.io import run_stage
from cli.options import StageFiles, examples, stage_options, stdin_once
from cli.tables import Table
from klear_data.difficulty import DEFAULT_HARD_BELOW, difficulty_problem, label_difficulty
from klear_data.difficulty_file import DifficultyFile
from klear_data.label_counts import LabelCounts
from klear_data.records import Check, Record, problem_of, rewards_problem

EXAMPLES = examples(
    "klear label judged.jsonl -o labelled.jsonl",
    "klear reward-math teacher.jsonl | klear label --from labelled.jsonl | klear format sft -o sft.jsonl",
)


@stage_options()
def label(
    files: StageFiles,
    hard_below: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="A pass rate under this is hard.", show_default="0.5")
    ] = None,
    labeler: Annotated[
        str | None, typer.Option(metavar="NAME", help="Who made the rollouts.", show_default="sampling.model")
    ] = None,
    from_file: Annotated[
        str | None,
        typer.Option("--from", metavar="FILE", help="Take the difficulty from these records with the same ids."),
    ] = None,
) -> None:
    """Add the difficulty of each problem: its pass rate over the rollouts that could be scored.

    Rollouts whose verifier failed count as unscored and enter no rate. What other labelers said is kept. With --from
    the records' own rollouts are not looked at: difficulty by one model, responses by another.
    """
    counts = LabelCounts()
    stdin_once(files.input, from_file)
    measured = None if from_file is None else DifficultyFile(from_file, labeler=labeler)

    def labelled(records: Iterable[Record]) -> Iterator[Record]:
        for record in records:
            if measured is not None:
                result = measured.label(record, hard_below=hard_below)
            else:
                result = label_difficulty(
                    record, hard_below=DEFAULT_HARD_BELOW if hard_below is None else hard_below, labeler=labeler
                )
            counts.add(result)
            yield result

    def notes() -> dict[str, Any]:
        rows = counts.rows()
        missing = {} if measured is None else {"not_in_the_file": measured.not_found}
        return {**missing, "by_source": Table(rows)} if rows else missing

    run_stage(
        "label", files, labelled, ledger_notes=notes,
        check=lambda record: _problem(record, problem_of if measured is not None else rewards_problem),
    )  # fmt: skip


def _problem(record: Record, check: Check) -> str | None:
    found = check(record)
    if found is None and record.get("difficulty") is not None:
        return difficulty_problem(record, needed_by="keeping what an earlier labeler said")
    return found
