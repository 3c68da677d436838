"""``klear reward-math``: a verdict and a reward for every rollout of every math record."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from cli.io import run_stage
from cli.options import Jobs, StageFiles, examples, stage_options
from cli.verdicts import VerdictTable
from klear_data.records import rollouts_problem
from klear_data.reward.scheme import Scheme
from klear_data.reward.think import ThinkMode

EXAMPLES = examples(
    "klear reward-math rollouts.jsonl -o judged.jsonl",
    "klear sample problems.jsonl --model DIR | klear reward-math --think none | klear reward-code > judged.jsonl",
)


@stage_options()
def reward_math(
    files: StageFiles,
    scheme: Annotated[Scheme, typer.Option(help="From verdict to number: the paper's, its code's, or 1/0.")] = "paper",
    think: Annotated[ThinkMode, typer.Option(help="Which think tags a response must have.")] = "full",
    timeout: Annotated[float, typer.Option(min=0.1, metavar="SECONDS", help="CPU time for one answer.")] = 5.0,
    fallback: Annotated[
        bool, typer.Option("--fallback", help="Without a box, read 'answer: …' or the last formula.")
    ] = False,
    jobs: Jobs = 0,
) -> None:
    """Check the boxed answer of every rollout against the gold answer; code records pass through."""
    from klear_data.reward.math import MathRewarder

    table = VerdictTable("math")
    rewarder = MathRewarder(
        jobs=jobs or os.cpu_count() or 1, scheme=scheme, think=think, timeout_s=timeout, fallback=fallback
    )
    with rewarder:
        run_stage(
            "reward-math",
            files,
            lambda records: table.watch(rewarder.reward_records(records)),
            check=rollouts_problem,
            ledger_notes=table.notes,
        )
