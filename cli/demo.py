"""``klear demo``: the whole chain on problems and a model made on the spot, typed as a person would."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from cli.options import examples
from klear_data.errors import KlearError, UsageError, require

EXAMPLES = examples("klear demo demo", "klear demo /tmp/klear-demo --seed 1")

_MARK = "klear-demo"


@dataclass(frozen=True)
class Step:
    """One stage of the demo: its name in the summary, what it is for, and the line to type."""

    name: str
    purpose: str
    command: str


def chain(seed: int) -> list[Step]:
    """The demo's command lines, to be run in its folder."""
    judge = "klear reward-math -q | klear reward-code -q | klear label"
    heldout = f"klear sample heldout.jsonl --n 4 --top-p 1 --max-tokens 128 --batch-size 256 --seed {seed}"
    return [
        Step(
            "curate",
            "drop duplicates, leaked benchmark problems and broken lines",
            "klear curate --sources raw/math.jsonl,raw/code.jsonl --decontaminate heldout/math.jsonl,heldout/code.jsonl"
            # All toy problems are rewordings of each other.
            " --on edited=off,variant=off,code=off,paraphrase=off --min-tests 16"
            " --rejects rejected.jsonl --quarantine quarantined.jsonl --report curate.json -o curated.jsonl",
        ),
        Step(
            "curate_heldout",
            "the held-out problems as records, untouched by training",
            "klear curate --sources heldout/math.jsonl,heldout/code.jsonl -o heldout.jsonl",
        ),
        Step(
            "reward_teacher",
            "judge the teacher's responses: boxed answers exactly, programs in the sandbox",
            "klear reward-math curated.jsonl | klear reward-code -o judged.jsonl",
        ),
        Step("label", "how hard is each problem", "klear label judged.jsonl -o labelled.jsonl"),
        Step("format_sft", "responses become chat messages", "klear format sft labelled.jsonl -o sft.jsonl"),
        Step(
            "train_sft",
            "fine-tune the model that knows nothing yet",
            f"klear train sft --recipe tiny-sft --data sft.jsonl --model model --out sft --set seed={seed}",
        ),
        Step("eval_before", "held-out accuracy before RL", f"{heldout} --model sft/final | {judge} -o before.jsonl"),
        Step(
            "sample",
            "the new model's own responses to problems of both abilities",
            '(grep -m 320 \'"ability":"math"\' curated.jsonl; grep -m 320 \'"ability":"code"\' curated.jsonl) | '
            f"klear sample --model sft/final --n 2 --top-p 1 --max-tokens 128 --batch-size 256 --seed {seed} "
            "-o rollouts.jsonl",
        ),
        Step("reward", "judge them", "klear reward-math rollouts.jsonl | klear reward-code -o scored.jsonl"),
        Step("label_rl", "how hard is each problem for this model", "klear label scored.jsonl -o difficulty.jsonl"),
        Step(
            "format_rl",
            "the problems that RL trains on",
            "klear format rl difficulty.jsonl --keep all --without-rollouts -o rl.jsonl",
        ),
        Step(
            "train_rl",
            "GPPO on the verifiers' rewards",
            f"klear train rl --recipe tiny-rl --data rl.jsonl --model sft/final --out rl --set seed={seed}",
        ),
        Step("eval_after", "held-out accuracy after RL", f"{heldout} --model rl/final | {judge} -o after.jsonl"),
    ]


def demo(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where everything goes; made if absent.")],
    seed: Annotated[int, typer.Option(help="Of the problems, the model and every draw.")] = 0,
) -> None:
    """Run the whole chain on a tiny model: curate, judge, label, SFT, sample, RL, before and after.

    Each command line is printed before it runs; everything it made stays in DIR.
    """
    require("torch", extra="train", needed_by="klear demo")
    from cli.demo_summary import summarise

    _clear(directory)
    began_s = time.monotonic()
    _make_inputs(directory, seed)
    seconds: dict[str, float] = {"make_inputs": time.monotonic() - began_s}
    print(f"$ cd {directory}", flush=True)
    for step in chain(seed):
        started_s = time.monotonic()
        print(f"\n# {step.purpose}\n$ {step.command}", flush=True)
        _run(step, directory)
        seconds[step.name] = time.monotonic() - started_s
    seconds["total"] = time.monotonic() - began_s
    summarise(directory, seconds)


def _clear(directory: Path) -> None:
    """Make the folder, or empty it if an earlier demo left it.

    Raises:
        UsageError: it holds something else.
    """
    if directory.is_dir() and any(directory.iterdir()) and not (directory / _MARK).exists():
        raise UsageError(f"{directory}: holds other files; expected a new folder or an earlier demo; name another one")
    try:
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        (directory / _MARK).write_text("Made by `klear demo`, which empties this folder when it runs again.\n")
    except OSError as error:
        raise UsageError(f"{directory}: can't be written ({error.strerror}); name another folder") from None


def _make_inputs(directory: Path, seed: int) -> None:
    from klear_data.toy import write_toy
    from klear_train.tiny import make_tiny_model

    files = write_toy(directory, seed=seed)
    make_tiny_model(directory / "model", seed=seed)
    for ability, planted in files.planted.items():
        print(
            f"raw/{ability}.jsonl: with {planted.duplicates} duplicates, {planted.leaks} leaked held-out problems and "
            f"{planted.broken} broken lines planted"
        )
    print("model/: a Qwen3-shaped byte-level model with random weights")


def _run(step: Step, directory: Path) -> None:
    # The same klear as this process, whatever else is on the PATH.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    environment = {"OMP_NUM_THREADS": "1", **os.environ, "PATH": path}
    result = subprocess.run(["bash", "-o", "pipefail", "-c", step.command], cwd=directory, env=environment, check=False)
    if result.returncode != 0:
        failure = KlearError(
            f"klear demo: the stage {step.name} ended with exit code {result.returncode}; expected 0; its own message "
            f"stands above"
        )
        failure.exit_code = result.returncode
        raise failure
