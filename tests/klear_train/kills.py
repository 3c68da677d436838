"""Kill SFT runs at random moments and go on with them, for test_sft_kill.py.

    python -m tests.klear_train.kills FOLDER KILLS SEED

FOLDER holds model/ and sft.jsonl. Each run is a process of its own, forked from
this one, which has imported what they need and computed nothing. Prints what happened as JSON; fails where a run that
was killed and went on ends otherwise than one that nobody disturbed, or a checkpoint that was complete is gone.
"""

from __future__ import annotations

import json
import multiprocessing
import random
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: F401  (imported once, not by every child)
from transformers.models.qwen3 import modeling_qwen3  # noqa: F401

from klear_train.checkpoint import checkpoints
from klear_train.sft import run_sft
from tests.klear_train.two_processes import records, settings


def train(folder: Path, name: str) -> None:
    """A run of twelve steps with a checkpoint after each, from wherever it stands."""
    small = ["max_steps=12", "checkpoint.every=1", "checkpoint.keep_last=2", "validation.every=0"]
    run_sft(settings(folder, *small), records(folder), out_dir=folder / name, resume=True, quiet=True)


def metrics(run: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if not key.endswith(("_per_s", "_mib", "_s"))} for row in rows]


def check_same(folder: Path, name: str) -> None:
    whole, other = folder / "whole", folder / name
    for path in sorted((whole / "final").iterdir()):
        assert path.read_bytes() == (other / "final" / path.name).read_bytes(), path.name
    assert metrics(whole) == metrics(other)


def last_step(run: Path) -> int:
    found = checkpoints(run / "checkpoints")
    return int(found[-1].name.removeprefix("step_")) if found else 0


def size_of(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def main(folder: Path, kills: int, seed: int, train: Callable[[Path, str], None] = train) -> None:
    processes, rng = multiprocessing.get_context("fork"), random.Random(seed)

    def start(name: str) -> Any:
        child = processes.Process(target=train, args=(folder, name))
        child.start()
        return child

    began = time.monotonic()
    whole = start("whole")
    whole.join()
    took_s = time.monotonic() - began
    assert whole.exitcode == 0
    reached, resumed_from, finished = 0, [], 0
    while len(resumed_from) < kills or finished == 0 or (folder / "killed").exists():
        rows = size_of(folder / "killed" / "metrics.jsonl")
        child = start("killed")
        if len(resumed_from) < kills:
            # One in four anywhere, start-up included; the others once it trains.
            if rng.random() > 0.25:
                while child.is_alive() and size_of(folder / "killed" / "metrics.jsonl") in (0, rows):
                    time.sleep(0.002)
            child.join(rng.uniform(0, took_s / 2))
        else:  # the last one ends in peace
            child.join()
        if child.exitcode is None:
            child.kill()
            child.join()
            now = last_step(folder / "killed")
            assert now >= reached, f"the checkpoint of step {reached} is gone; there is that of step {now}"
            reached = now
            resumed_from.append(now)
            print(f"kill {len(resumed_from)}: the last complete checkpoint is that of step {now}", file=sys.stderr)
        else:
            assert child.exitcode == 0, f"a run that went on from step {reached} failed"
            check_same(folder, "killed")
            shutil.rmtree(folder / "killed")
            reached, finished = 0, finished + 1
    print(json.dumps({"kills": len(resumed_from), "resumed_from": resumed_from, "finished": finished}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
