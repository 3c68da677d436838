"""``klear label``: how hard each problem was for the model that wrote the rollouts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import typer

from cli.io import run_stage
from cli.options import StageFiles, examples, stage_options
from klear_data.difficulty import label_difficulty
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

    Rollouts whose verifier failed count as unscored and enter no rate.
    """
    table: dict[str, dict[str, int]] = {}

    def labelled(records: Iterable[Record]) -> Iterator[Record]:
        for record in records:
            result = label_difficulty(record, hard_below=hard_below, labeler=labeler)
            row = table.setdefault(f"{record['ability']}/{record.get('data_source', '?')}", {})
            difficulty = result["difficulty"]
            for key, count in ((difficulty["label"], 1), ("unscored_rollouts", difficulty["unscored"])):
                row[key] = row.get(key, 0) + count
            yield result

    def notes() -> dict[str, Any]:
        return table

    run_stage("label", files, labelled, check=rewards_problem, ledger_notes=notes)
