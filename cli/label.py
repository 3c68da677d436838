"""``klear label``: how hard each problem was for the model that wrote the rollouts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import typer

from cli.io import run_stage
from cli.options import StageFiles, examples, stage_options
from cli.tables import Table
from klear_data.difficulty import difficulty_problem, label_difficulty
from klear_data.label_counts import LabelCounts
from klear_data.records import Record, rewards_problem

EXAMPLES = examples(
    "klear label judged.jsonl -o labelled.jsonl",
    "klear reward-math rollouts.jsonl | klear label --hard-below 0.3 > labelled.jsonl",
)


@stage_options()
def label(
    files: StageFiles,
    hard_below: Annotated[float, typer.Option(min=0.0, max=1.0, help="A pass rate under this is hard.")] = 0.5,
    labeler: Annotated[
        str | None, typer.Option(metavar="NAME", help="Who made the rollouts.", show_default="sampling.model")
    ] = None,
) -> None:
    """Add the difficulty of each problem: its pass rate over the rollouts that could be scored.

    Rollouts whose verifier failed count as unscored and enter no rate. What other labelers said is kept.
    """
    counts = LabelCounts()

    def labelled(records: Iterable[Record]) -> Iterator[Record]:
        for record in records:
            result = label_difficulty(record, hard_below=hard_below, labeler=labeler)
            counts.add(result)
            yield result

    def notes() -> dict[str, Any]:
        rows = counts.rows()
        return {"by_source": Table(rows)} if rows else {}

    run_stage("label", files, labelled, check=_problem, ledger_notes=notes)


def _problem(record: Record) -> str | None:
    found = rewards_problem(record)
    if found is None and record.get("difficulty") is not None:
        return difficulty_problem(record, needed_by="keeping what an earlier labeler said")
    return found
