"""``kill -9`` of ``klear train rl`` at any moment: going on ends with the bits of a run that nobody disturbed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from klear_train.config import to_toml
from tests.klear_train.rl_runs import config

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.timeout(280)


@pytest.mark.parametrize("kills", [3, pytest.param(40, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_killed_rl_runs_go_on_to_the_same_bits(
    sometimes_right: tuple[Path, list[dict[str, Any]]], tmp_path: Path, kills: int
) -> None:
    model, records = sometimes_right
    settings = config(model, "steps=6", "optim.lr=1e-3", "optim.warmup_steps=0", "checkpoint.keep_last=2")
    (tmp_path / "rl.toml").write_text(to_toml(settings))
    (tmp_path / "rl.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    done = subprocess.run(
        [sys.executable, "-m", "tests.klear_train.rl_kills", str(tmp_path), str(kills), "0"],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert found["kills"] == kills
    assert found["finished"] >= 1
    if kills > 20:
        assert len(set(found["resumed_from"])) > 3, "kills at few moments only"
