"""``klear train sft|rl``: the two trainers."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import typer

from cli.options import examples, say, stdin_once
from klear_data.errors import RecordError, UsageError, require
from klear_data.jsonl import STDIO, BadLine, Source
from klear_data.records import Check, Record, messages_problem, problem_of

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Train a model: SFT, then RL with GPPO.")

SFT_EXAMPLES = examples(
    "klear train sft --recipe tiny-sft --data sft.jsonl --model model/ --dry-run",
    "torchrun --nproc-per-node 8 --no-python klear train sft --recipe klear-8b-sft --data sft.parquet "
    "--validation heldout.jsonl --model Qwen/Qwen3-8B-Base --out runs/8b --set optim.lr=4e-5",
)
RL_EXAMPLES = examples(
    "klear train rl --recipe tiny-rl --data rl.jsonl --model runs/sft/final --out runs/rl",
    "torchrun --nproc-per-node 8 --no-python klear train rl --recipe klear-8b-math --data rl.jsonl "
    "--model runs/sft/final --out runs/math --set rollout.engine=vllm --resume",
)

Recipe = Annotated[str | None, typer.Option(metavar="NAME", help="A shipped recipe; an unknown name lists them.")]
Config = Annotated[str | None, typer.Option("--config", metavar="FILE.toml", help="A config of your own.")]
Data = Annotated[str, typer.Option(metavar="PATH|-", help="Records to train on; - is stdin.")]
Model = Annotated[str | None, typer.Option(metavar="ID_OR_DIR", help="Model folder or Hub id.", show_default=False)]
Out = typer.Option(metavar="DIR", help="The run's folder: config, metrics, checkpoints, final/.", show_default=False)
Set = Annotated[list[str] | None, typer.Option("--set", metavar="a.b=value", help="Override a setting; repeatable.")]
Devices = Annotated[
    int | None, typer.Option(min=1, help="Devices that --dry-run shares the model over; those of torchrun.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the last complete checkpoint.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No live line.")]


@app.command("sft", epilog=SFT_EXAMPLES)
def train_sft(
    data: Data,
    out: Annotated[str | None, Out] = None,
    model: Model = None,
    recipe: Recipe = None,
    config_path: Config = None,
    overrides: Set = None,
    validation: Annotated[
        str | None, typer.Option(metavar="PATH", help="Held-out records; their loss every validation.every steps.")
    ] = None,
    resume: Resume = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print settings, memory, steps and the first batch with its loss mask; no run."),
    ] = False,
    devices: Devices = None,
    quiet: Quiet = False,
) -> None:
    """Fine-tune on chat messages, with the loss on the assistant's tokens.

    Several devices or nodes: start it with torchrun, as in the second example.
    """
    stdin_once(data, validation)
    config = _config("sft", recipe, config_path, model, overrides)
    records = Records(data, _chat_problem)
    if dry_run:
        from klear_train.dry_run import dry_run as report

        if _is_main():
            processes = devices or int(os.environ.get("WORLD_SIZE", "1"))
            say(report(config, records, devices=processes, colour=sys.stdout.isatty()))
        return
    folder = _run_folder("sft", out)
    from klear_train.sft import run_sft

    heldout = None if validation is None else Records(validation, _chat_problem)
    _train(lambda: run_sft(config, records, out_dir=folder, resume=resume, quiet=quiet, validation=heldout))


@app.command("rl", epilog=RL_EXAMPLES)
def train_rl(
    data: Data,
    out: Annotated[str | None, Out] = None,
    model: Model = None,
    recipe: Recipe = None,
    config_path: Config = None,
    overrides: Set = None,
    eval_data: Annotated[
        str | None, typer.Option(metavar="PATH", help="Held-out records to evaluate on while training.")
    ] = None,
    resume: Resume = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print settings, memory, steps and the first prompt; no run.")
    ] = False,
    devices: Devices = None,
    quiet: Quiet = False,
) -> None:
    """Train with GPPO on verifiable rewards: sample, judge, update.

    Several devices or nodes: start it with torchrun; each process samples its share of the prompts.
    """
    stdin_once(data, eval_data)
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if processes > 1 and STDIO in (data, eval_data):
        raise UsageError(
            f"-: {processes} processes can't share stdin; expected a file that each of them reads; write the records "
            "to one and give its path"
        )
    config = _config("rl", recipe, config_path, model, overrides)
    heldout = [] if eval_data is None else list(_read(eval_data, problem_of))
    if dry_run:
        from klear_train.rl_dry_run import rl_dry_run

        if _is_main():
            say(rl_dry_run(config, _read(data, problem_of), heldout=heldout, devices=devices or processes))
        return
    folder = _run_folder("rl", out)
    from klear_train.rl import run_rl

    _train(lambda: run_rl(config, _read(data, problem_of), out_dir=folder, heldout=heldout, resume=resume, quiet=quiet))


def _run_folder(kind: Literal["sft", "rl"], out: str | None) -> str:
    if out is None:
        raise UsageError(f"klear train {kind}: no folder for the run; expected --out DIR, or --dry-run; name one")
    return out


def _config(
    kind: Literal["sft", "rl"], recipe: str | None, path: str | None, model: str | None, overrides: list[str] | None
) -> Any:
    require("torch", extra="train", needed_by=f"klear train {kind}")
    require("transformers", extra="train", needed_by=f"klear train {kind}")
    from klear_train.config import load_config, recipe_names

    if recipe is None and path is None:
        raise UsageError(
            f"klear train {kind}: neither --recipe nor --config; expected one of them; recipes: "
            f"{', '.join(recipe_names(kind))}"
        )
    # A path may hold a comma, so --set is only ever repeated, never split.
    settings = list(overrides or [])
    if model is not None:
        settings.append(f"model.path={json.dumps(model)}")
    config = load_config(kind, recipe=recipe, path=path, overrides=settings)
    if not config.model.path:
        raise UsageError(f"klear train {kind}: no model; expected --model or model.path in the config; name one")
    return config


def _train(run: Callable[[], Any]) -> None:
    result = run()
    if _is_main():
        typer.echo(f"klear train: {result.steps} steps, final model in {result.final}", err=True)


def _is_main() -> bool:
    """Whether this is the only process, or the one of torchrun's that speaks for all."""
    return os.environ.get("RANK", "0") == "0"


def _chat_problem(record: Record) -> str | None:
    problem = messages_problem(record.get("messages"), "messages")
    return problem and f"{problem}; run `klear format sft` first"


@dataclass(frozen=True)
class Records:
    """The records of a file, read when they are asked for.

    Attributes:
        path: of the file, or ``-``.
        check: says what is wrong with a record.
    """

    path: str
    check: Check

    def __iter__(self) -> Iterator[Record]:
        return _read(self.path, self.check)

    @property
    def stamp(self) -> str | None:
        """What the file is, so that a run that goes on need not read it again."""
        from klear_train.tokens.fingerprint import file_stamp

        return file_stamp(self.path)


def _read(path: str, check: Check) -> Iterator[Record]:
    """The records of a file; training on half of what was meant is no option, so a bad line ends it.

    Raises:
        RecordError: a line that is no record of this kind.
    """
    source = Source(path)
    try:
        for item in source:
            if isinstance(item, BadLine):
                raise RecordError(f"{item.where}: {item.problem}; mend the line or format the data again")
            where, record = item
            problem = check(record)
            if problem is not None:
                raise RecordError(f"{where}: {problem}; mend the line or format the data again")
            yield record
    finally:
        source.close()
