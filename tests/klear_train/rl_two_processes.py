"""What ``torchrun`` starts in the tests of the RL loop: ``python -m tests.klear_train.rl_two_processes FOLDER``."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import torch

from klear_train import distributed
from klear_train.rl import run_rl
from tests.klear_train.rl_runs import config

STEPS = 3
SETTINGS = ("steps=3", "checkpoint.keep_last=9", "optim.lr=1e-3", "optim.warmup_steps=0", "loss.old_logprobs=trainer")


def run(folder: Path, name: str, *overrides: str, resume: bool = False) -> None:
    records = json.loads((folder / "records.json").read_text())
    settings = config(folder / "model", *SETTINGS, "evaluation.every=2", *overrides)
    run_rl(settings, records, out_dir=folder / name, heldout=records[:3], resume=resume, quiet=True)


def back_to_step_1(source: Path, target: Path) -> None:
    """A run as it would be had it been killed after its first step."""
    shutil.copytree(source, target)
    shutil.rmtree(target / "final")
    for later in range(2, STEPS):
        shutil.rmtree(target / "checkpoints" / f"step_{later:06d}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    base = Path(sys.argv[1])
    with distributed.start():  # a process joins the others once
        run(base, "two")
        run(base, "one_then_two", resume=True)
        run(base, "two_with_reference", "loss.kl_weight=0.1", "loss.mismatch=mask", "rollout.drop_truncated=true")
