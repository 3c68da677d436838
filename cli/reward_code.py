"""``klear reward-code``: run every rollout's program on the tests of its problem, in the sandbox."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Annotated, Any, Literal

import typer

from cli.io import run_stage
from cli.options import Jobs, StageFiles, examples, stage_options, stdin_once
from cli.verdicts import VerdictTable
from klear_data.errors import RecordError
from klear_data.jsonl import BadLine, Source
from klear_data.records import Record, problem_of, rollouts_problem
from klear_data.reward.scheme import Scheme
from klear_data.reward.think import ThinkMode
from klear_data.stage import Drop, Outcome

EXAMPLES = examples(
    "klear reward-code rollouts.jsonl --tests -o judged.jsonl",
    "klear sample problems.jsonl --model DIR | klear reward-math | klear reward-code --max-tests 32 > judged.jsonl",
)


@stage_options()
def reward_code(
    files: StageFiles,
    tests: Annotated[bool, typer.Option("--tests/--no-tests", help="Run the tests, or only compile.")] = True,
    tests_from: Annotated[
        str | None, typer.Option(metavar="PATH", help="Records whose ground truths replace these, matched by id.")
    ] = None,
    max_tests: Annotated[
        int | None, typer.Option(min=1, help="Draw at most this many tests a problem.", show_default="all")
    ] = None,
    time_limit: Annotated[float, typer.Option(min=0.1, metavar="SECONDS", help="CPU time for one test.")] = 6.0,
    memory_mib: Annotated[int, typer.Option(min=64, help="Memory for one test.")] = 1024,
    scheme: Annotated[Scheme, typer.Option(help="From verdict to number: the paper's, its code's, or 1/0.")] = "paper",
    think: Annotated[ThinkMode, typer.Option(help="Which think tags a response must have.")] = "full",
    language: Annotated[
        Literal["auto", "python", "cpp"], typer.Option(help="Of the programs; auto goes by the code block's tag.")
    ] = "auto",
    seed: Annotated[int, typer.Option(help="Of the draw under --max-tests.")] = 0,
    allow_weak: Annotated[
        bool, typer.Option("--allow-weak", help="Run even where this machine can't isolate programs.")
    ] = False,
    jobs: Jobs = 0,
) -> None:
    """Run every rollout's program on the problem's tests; the reward is the share passed.

    Math records pass through. A record without usable tests is dropped with its reason, never scored.
    """
    from klear_data.reward.code import CodeRewarder

    stdin_once(files.input, tests_from)
    table = VerdictTable("code")
    rewarder = CodeRewarder(
        jobs=jobs or os.cpu_count() or 1,
        scheme=scheme,
        think=think,
        time_limit_s=time_limit,
        memory_mib=memory_mib,
        max_tests=max_tests,
        seed=seed,
        language=language,
        use_tests=tests,
        allow_weak=allow_weak,
    )
    replaced = _ground_truths(tests_from) if tests_from is not None else {}
    with rewarder:
        run_stage(
            "reward-code",
            files,
            lambda records: table.watch(_judged_on(replaced, records, rewarder.reward_records)),
            check=rollouts_problem,
            ledger_notes=table.notes,
        )


def _ground_truths(path: str) -> dict[str, str]:
    """The ground truth of every record of a file, by id.

    Raises:
        RecordError: a line that is no record.
    """
    source = Source(path)
    found: dict[str, str] = {}
    try:
        for item in source:
            where, record = item if isinstance(item, tuple) else (item.where, {})
            problem = item.problem if isinstance(item, BadLine) else problem_of(record)
            if problem is not None:
                raise RecordError(f"{where}: {problem}; mend the file of --tests-from")
            found[record["id"]] = record["reward_model"]["ground_truth"]
    finally:
        source.close()
    return found


def _judged_on(
    ground_truths: dict[str, str], records: Iterable[Record], judge: Callable[[Iterable[Record]], Iterable[Outcome]]
) -> Iterator[Outcome]:
    """Judge records on other tests than their own; what goes on keeps its own ground truth."""
    own: deque[Any] = deque()

    def swapped() -> Iterator[Record]:
        for record in records:
            own.append(record["reward_model"])
            ground_truth = ground_truths.get(record["id"])
            yield (
                record
                if ground_truth is None
                else {
                    **record,
                    "reward_model": {**record["reward_model"], "ground_truth": ground_truth},
                }
            )

    for outcome in judge(swapped()):
        reward_model = own.popleft()
        if isinstance(outcome, Drop):
            yield replace(outcome, record={**outcome.record, "reward_model": reward_model})
        elif isinstance(outcome, dict):
            yield {**outcome, "reward_model": reward_model}
