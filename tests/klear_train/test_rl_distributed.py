"""RL on two processes over gloo: the same rollouts, losses and weights as on one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.klear_train.rl_two_processes import STEPS, back_to_step_1, run

pytestmark = pytest.mark.timeout(280)
ROOT = Path(__file__).resolve().parents[2]
TIMES = ("_s", "_per_s")
OF_ONES_OWN = {"probe_gap", "probe_gap_before", "outside_gradient_share"}
"""What may differ: one process samples the policy itself and pushes nothing; a share of the gradient's size is a mean
over micro-batches, and those are others."""


@pytest.fixture(scope="module")
def folder(sometimes_right: tuple[Path, list[dict[str, Any]]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    model, records = sometimes_right
    path = tmp_path_factory.mktemp("rl")
    (path / "model").symlink_to(model)
    (path / "records.json").write_text(json.dumps(records))
    run(path, "one")
    run(path, "one_with_reference", "loss.kl_weight=0.1", "loss.mismatch=mask", "rollout.drop_truncated=true")
    back_to_step_1(path / "one", path / "one_then_two")
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m",
         "tests.klear_train.rl_two_processes", str(path)],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return path


def metrics(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("one", "other"), [("one", "two"), ("one", "one_then_two"), ("one_with_reference", "two_with_reference")]
)
def test_two_processes_do_what_one_does(folder: Path, one: str, other: str) -> None:
    assert [row["step"] for row in metrics(folder / other)] == list(range(STEPS + 1))
    for first, second in zip(metrics(folder / one), metrics(folder / other), strict=True):
        for key in first.keys() - OF_ONES_OWN:
            if not key.endswith(TIMES):
                assert second[key] == pytest.approx(first[key], rel=1e-4, abs=1e-6), (first["step"], key)
    weights = [AutoModelForCausalLM.from_pretrained(folder / name / "final").state_dict() for name in (one, other)]
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, rtol=1e-4, atol=1e-5)


def test_the_samplers_of_two_processes_are_probed_after_every_push(folder: Path) -> None:
    gaps = [row["probe_gap"] for row in metrics(folder / "two") if row["step"]]
    assert len(gaps) == STEPS
    assert all(0 <= gap < 1e-5 for gap in gaps)


def test_the_reference_pulls(folder: Path) -> None:
    rows = metrics(folder / "one_with_reference")
    assert rows[1]["reference_kl"] >= 0
    assert rows[-1]["reference_kl"] > 1e-6
