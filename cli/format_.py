"""``klear format sft|rl``: judged records become what the two trainers read."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli.io import run_stage
from cli.options import StageFiles, examples, stage_options
from klear_data.records import problem_of
from klear_data.rl_format import Keep, labelled_problem, rl_prompts
from klear_data.sft_format import Correctness, SftFormatter, Truncated, sft_problem

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Turn judged records into training data.")

SFT_EXAMPLES = examples(
    "klear format sft labelled.jsonl -o sft.jsonl",
    "klear label judged.jsonl | klear format sft --correctness true-if-easy --max-per-prompt 4 > sft.jsonl",
)
RL_EXAMPLES = examples(
    "klear format rl labelled.jsonl --keep majority --without-rollouts -o rl.jsonl",
    "klear label judged.jsonl | klear format rl --rejects too-hard.jsonl > rl.jsonl",
)


@app.command("sft", epilog=SFT_EXAMPLES)
@stage_options()
def format_sft(
    files: StageFiles,
    correctness: Annotated[
        Correctness, typer.Option(help="Which responses: all, the right ones, or the right ones of easy problems.")
    ] = "all",
    truncated: Annotated[Truncated, typer.Option(help="What to do with responses cut at the token limit.")] = "drop",
    max_per_prompt: Annotated[
        int | None, typer.Option(min=1, help="At most this many responses a problem.", show_default="no limit")
    ] = None,
) -> None:
    """Write one SFT example a kept response: the prompt and the response as chat messages."""
    formatter = SftFormatter(correctness=correctness, truncated=truncated, max_per_prompt=max_per_prompt)

    def notes() -> dict[str, Any]:
        return {"responses_left_out": dict(formatter.left_out)} if formatter.left_out else {}

    run_stage("format sft", files, formatter, check=sft_problem(correctness), ledger_notes=notes)


@app.command("rl", epilog=RL_EXAMPLES)
@stage_options()
def format_rl(
    files: StageFiles,
    keep: Annotated[
        Keep, typer.Option(help="majority: problems solved by more than half of the rollouts.")
    ] = "majority",
    keep_weak: Annotated[
        bool, typer.Option("--keep-weak", help="Keep problems whose verdicts a program could forge.")
    ] = False,
    without_rollouts: Annotated[
        bool, typer.Option("--without-rollouts", help="Leave the rollouts out; RL samples its own.")
    ] = False,
) -> None:
    """Choose the problems that RL trains on."""
    run_stage(
        "format rl",
        files,
        lambda records: rl_prompts(records, keep=keep, keep_weak=keep_weak, without_rollouts=without_rollouts),
        check=labelled_problem if keep == "majority" else problem_of,
    )
