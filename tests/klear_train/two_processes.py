"""What each of two processes does for test_distributed.py, started by torchrun: several runs, one after another.

    torchrun --nproc-per-node 2 -m tests.klear_train.two_processes FOLDER

FOLDER holds model/, sft.jsonl and, to go on from, one_process/; every run leaves its own folder there.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import torch

from klear_data.errors import RecordError
from klear_train import distributed, sft
from klear_train.config import load_config
from klear_train.distributed import World
from klear_train.optim import TrainingStopped
from klear_train.settings import SFTConfig


def settings(folder: Path, *overrides: str) -> SFTConfig:
    """Five rows a step over two processes: one of them always has a micro-batch less."""
    small = ["max_steps=6", "rows_per_step=5", "rows_per_micro_batch=2", "log_every=1", "checkpoint.every=3"]
    where = [f"model.path={folder / 'model'}", "validation.every=3"]
    return load_config("sft", recipe="tiny-sft", overrides=[*small, *where, *overrides])


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "sft.jsonl").read_text().splitlines()]


def run(folder: Path, name: str, *overrides: str, resume: bool = False) -> None:
    data = records(folder)
    sft.run_sft(
        settings(folder, *overrides), data, out_dir=folder / name, resume=resume, quiet=True, validation=data[:9]
    )  # fmt: skip


def copy_at_step_3(begun: Path, copy: Path) -> None:
    shutil.copytree(begun, copy, ignore=shutil.ignore_patterns("final"))
    for later in (copy / "checkpoints").glob("step_*"):
        if later.name > "step_000003":
            shutil.rmtree(later)


def break_on_rank_1(world: World) -> None:
    """From now on one process computes a loss that is no number."""
    whole = sft.nll_sum

    def broken(*args: Any, **options: Any) -> torch.Tensor:
        return whole(*args, **options) * (float("nan") if world.rank == 1 else 1.0)

    sft.nll_sum = broken


def leaves(folder: Path, world: World, expected: type[Exception], *overrides: str, name: str) -> None:
    """Say how this process left a run that can't be done."""
    try:
        run(folder, name, *overrides)
    except (SystemExit, expected) as error:
        said = f"{type(error).__name__} {getattr(error, 'code', error)}"
        (folder / f"{name}_{world.rank}.txt").write_text(said)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    with distributed.start() as world:
        run(folder, "two_processes")
        world.once(lambda: copy_at_step_3(folder / "one_process", folder / "one_then_two"))
        run(folder, "one_then_two", resume=True)
        run(folder, "bfloat16_two", "model.dtype=bfloat16", "model.gradient_checkpointing=true")
        leaves(folder, world, RecordError, "pack_tokens=8", name="nothing_fits")
        break_on_rank_1(world)
        leaves(folder, world, TrainingStopped, "stop_after_bad_steps=2", name="broken")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
