"""Kill ``klear train rl`` at random moments and go on with it, for test_rl_kill.py: see kills.py.

    python -m tests.klear_train.rl_kills FOLDER KILLS SEED

FOLDER holds rl.toml and rl.jsonl.
"""

from __future__ import annotations

import sys
from pathlib import Path

import klear_train.rl  # noqa: F401  (imported once, before the runs are forked)
from cli.main import main as klear
from tests.klear_train import kills


def train(folder: Path, name: str) -> None:
    """The command itself, from wherever the run stands."""
    given = {"--config": folder / "rl.toml", "--data": folder / "rl.jsonl", "--out": folder / name}
    sys.argv = ["klear", "train", "rl", *(str(part) for pair in given.items() for part in pair), "--resume", "-q"]
    klear()


if __name__ == "__main__":
    kills.main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), train)
