"""``klear format sft|rl``: judged records become what the two trainers read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from cli.io import run_stage
from cli.options import StageFiles, examples, stage_options
from klear_data.export.rows import Target
from klear_data.rl_format import PAPER_MIN_TESTS, Keep, RlRules, rl_problem, rl_prompts
from klear_data.sft_format import Correctness, SftFormatter, ThinkTags, Truncated, sft_problem
from klear_data.sink import Sink, open_sink

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Turn judged records into training data.")

SFT_EXAMPLES = examples(
    "klear format sft labelled.jsonl -o sft.jsonl",
    "klear label judged.jsonl | klear format sft --correctness true-if-easy --max-per-prompt 4 > sft.jsonl",
)
RL_EXAMPLES = examples(
    "klear format rl labelled.jsonl --keep majority --without-rollouts -o rl.jsonl",
    "klear label judged.jsonl | klear format rl --drop-extremes --to verl -o rl.parquet",
)

To = Annotated[Target, typer.Option(help="Whose loader reads the file; verl and trl take Parquet, without rollouts.")]
Labeler = Annotated[
    str | None, typer.Option(metavar="NAME", help="Whose difficulty counts.", show_default="the latest")
]


@app.command("sft", epilog=SFT_EXAMPLES)
@stage_options()
def format_sft(
    files: StageFiles,
    correctness: Annotated[
        Correctness, typer.Option(help="Which responses: all, the right ones, or the right ones of easy problems.")
    ] = "all",
    truncated: Annotated[
        Truncated, typer.Option(help="What to do with responses cut at the token limit or inside their thinking.")
    ] = "drop",
    max_per_prompt: Annotated[
        int | None,
        typer.Option(min=1, help="At most this many responses a problem, drawn by --seed.", show_default="no limit"),
    ] = None,
    think_tags: Annotated[ThinkTags, typer.Option(help="Write <think> and </think> one way, or leave them.")] = (
        "normalise"
    ),
    labeler: Labeler = None,
    seed: Annotated[int, typer.Option(help="Of the draw of --max-per-prompt.")] = 0,
    to: To = "klear",
) -> None:
    """Write one SFT example a kept response: the prompt and the response as chat messages."""
    formatter = SftFormatter(
        correctness=correctness,
        truncated=truncated,
        max_per_prompt=max_per_prompt,
        think_tags=think_tags,
        labeler=labeler,
        seed=seed,
    )
    run_stage(
        "format sft",
        files,
        formatter,
        check=sft_problem(correctness, labeler=labeler),
        ledger_notes=formatter.counts,
        open_output=_output("sft", to),
    )


@app.command("rl", epilog=RL_EXAMPLES)
@stage_options()
def format_rl(
    files: StageFiles,
    keep: Annotated[
        Keep,
        typer.Option(help="majority: problems that more than half of the rollouts solve; code with 16 tests or more."),
    ] = "majority",
    drop_extremes: Annotated[
        bool, typer.Option("--drop-extremes", help="Drop problems that all rollouts solve, or none.")
    ] = False,
    min_tests: Annotated[
        int | None,
        typer.Option(
            min=0, help="Drop code problems with fewer tests.", show_default=f"{PAPER_MIN_TESTS} if majority, else 0"
        ),
    ] = None,
    min_scored: Annotated[int, typer.Option(min=0, help="Drop problems with fewer scored rollouts.")] = 0,
    keep_weak: Annotated[
        bool, typer.Option("--keep-weak", help="Keep problems whose verdicts a program could forge.")
    ] = False,
    without_rollouts: Annotated[
        bool, typer.Option("--without-rollouts", help="Leave the rollouts out; RL samples its own.")
    ] = False,
    labeler: Labeler = None,
    to: To = "klear",
) -> None:
    """Choose the problems that RL trains on."""
    rules = RlRules(
        keep=keep,
        drop_extremes=drop_extremes,
        min_tests=min_tests,
        min_scored=min_scored,
        keep_weak=keep_weak,
        labeler=labeler,
    )
    run_stage(
        "format rl",
        files,
        lambda records: rl_prompts(records, rules, without_rollouts=without_rollouts or to != "klear"),
        check=rl_problem(rules),
        open_output=_output("rl", to),
    )


def _output(kind: str, to: Target) -> Callable[[str], Sink]:
    if to == "klear":
        return open_sink

    def open_export(path: str) -> Sink:
        from klear_data.export.parquet import ExportSink  # not at import: pyarrow takes its time

        return ExportSink(path, "rl" if kind == "rl" else "sft", to)

    return open_export
