"""The RL loop with the real vLLM as its sampler: weights pushed and probed after every step."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("vllm", reason="vLLM is not installed; `make test-vllm` installs its CPU build")

from klear_train.config import load_config, to_toml
from klear_train.rl import run_rl
from klear_train.rollout.probe import SamplerOutOfStep
from klear_train.rollout.vllm_engine import VLLMRollouts
from klear_train.sft import run_sft
from klear_train.tiny import make_tiny_model
from tests.klear_train.rl_runs import config, record

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.vllm, pytest.mark.timeout(280)]
ENGINE = (
    "rollout.engine=vllm", "rollout.vllm.max_num_seqs=32", "rollout.vllm.enforce_eager=true",
    "rollout.vllm.max_model_len=128", "rollout.n=8", "optim.lr=3e-3", "optim.warmup_steps=0",
)  # fmt: skip
THREE = ("rollout.prompts_per_step=3",)  # of six records: two for the one rank, one for the other


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that answers at random with one of three texts, one of them right; heads of 32, as vLLM's CPU needs."""
    base = make_tiny_model(tmp_path_factory.mktemp("tiny") / "model", hidden_size=64, num_heads=2, num_layers=2)
    answers = ["<think>a</think>\\boxed{1}", "<think>a</think>\\boxed{2}", "\\boxed{1}"]
    data = [
        {"id": "x", "messages": [{"role": "user", "content": f"Say {n} or not?"}, {"role": "assistant", "content": a}]}
        for n in "abcdef"
        for a in answers
    ]
    settings = load_config("sft", recipe="tiny-sft", overrides=[f"model.path={base}", "max_steps=80", "epochs=999"])
    return run_sft(settings, data, out_dir=tmp_path_factory.mktemp("sft") / "run", quiet=True).final


def metrics(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_reward_rises_while_sampler_and_trainer_stay_in_step(model: Path, tmp_path: Path) -> None:
    records = [record(f"Say {n} or not?", "1") for n in "abcdef"]
    run_rl(config(model, *ENGINE, "steps=10"), records, out_dir=tmp_path / "run", quiet=True)
    rows = metrics(tmp_path / "run")
    assert sum(row["accuracy"] for row in rows[-3:]) / 3 > sum(row["accuracy"] for row in rows[:3]) / 3 + 0.1
    assert all(row["probe_gap"] < 1e-4 for row in rows)
    # π_old is the trainer's: what the sampler gave is off by rounding, and nothing has moved at the first minibatch.
    assert all(row["mismatch_mean"] < 1e-3 for row in rows)
    assert all(row["first_kl"] < 1e-6 for row in rows)


def test_a_run_whose_pushes_leave_out_the_tied_head_stops(model: Path, tmp_path: Path, monkeypatch) -> None:
    whole = VLLMRollouts.push

    def without_head(self: VLLMRollouts, weights: Any) -> None:
        whole(self, ((name, tensor) for name, tensor in weights if name != "lm_head.weight"))

    monkeypatch.setattr(VLLMRollouts, "push", without_head)
    records = [record(f"Say {n} or not?", "1") for n in "abcdef"]
    with pytest.raises(SamplerOutOfStep, match=r"step [1-4]: sampler and trainer disagree"):
        run_rl(config(model, *ENGINE, "optim.lr=2e-2"), records, out_dir=tmp_path / "run", quiet=True)


def test_under_torchrun_every_rank_has_an_engine_that_follows(model: Path, tmp_path: Path) -> None:
    records = [record(f"Say {n} or not?", "1") for n in "abcdef"]
    (tmp_path / "rl.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records))
    (tmp_path / "rl.toml").write_text(to_toml(config(model, *ENGINE, "steps=3", "evaluation.every=3", *THREE)))
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "cli.main",
         "train", "rl", "--config", "rl.toml", "--data", "rl.jsonl", "--eval-data", "rl.jsonl", "--out", "run", "-q"],
        cwd=tmp_path, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    before, *rows = metrics(tmp_path / "run")
    assert before["step"] == 0
    assert [row["rollouts"] for row in rows] == [24, 24, 24]
    assert all(row["groups_kept"] > 0 for row in rows)
    assert all(row["probe_gap"] < 1e-4 and row["mismatch_mean"] < 1e-3 for row in rows)
