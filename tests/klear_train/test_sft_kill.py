"""``kill -9`` at any moment leaves the last complete checkpoint, and going on ends with the same bits."""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from klear_train.metrics.log import StepLog

ROOT = Path(__file__).resolve().parents[2]
WHOLE = (
    "import sys; from pathlib import Path; from tests.klear_train.kills import train; train(Path(sys.argv[1]), 'whole')"
)


@pytest.mark.parametrize("kills", [5, pytest.param(40, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_killed_runs_go_on_to_the_same_bits(
    tiny_model: Path, toy_rows: list[dict[str, Any]], tmp_path: Path, kills: int
) -> None:
    (tmp_path / "model").symlink_to(tiny_model)
    with (tmp_path / "sft.jsonl").open("w") as file:
        for number, row in enumerate(toy_rows):
            turns = [("user", row["problem"]), ("assistant", row["response"])]
            record = {"id": f"{number}/0", "messages": [{"role": role, "content": text} for role, text in turns]}
            file.write(json.dumps(record) + "\n")
    done = subprocess.run(
        [sys.executable, "-m", "tests.klear_train.kills", str(tmp_path), str(kills), "0"],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert found["kills"] == kills
    assert found["finished"] >= 1
    if kills > 20:
        assert len(set(found["resumed_from"])) > 3, "kills at few moments only"


def open_for_ever(path: Path) -> None:
    while True:
        StepLog(path, resumed_step=1999)


def test_metrics_that_are_kept_on_resuming_survive_a_kill_while_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps({"step": step, "x": "y" * 200}) + "\n" for step in range(2000)))
    for number in range(20):
        child = multiprocessing.get_context("fork").Process(target=open_for_ever, args=(path,))
        child.start()
        time.sleep(0.03 + 0.002 * number)
        child.kill()
        child.join()
        assert len(path.read_text().splitlines()) == 2000
