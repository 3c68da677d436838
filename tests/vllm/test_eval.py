"""`klear eval` with the real vLLM: the real benchmark files, and YaRN as transformers computes it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("vllm", reason="vLLM is not installed; `make test-vllm` installs its CPU build")

from klear_data.evaluation.context import stretched
from klear_data.generate.drive import drive
from klear_data.generate.transformers_backend import generate, load_model_and_tokenizer
from klear_data.generate.types import Prompt, SamplingParams
from klear_train.tiny import make_tiny_model

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(900)]
BIN = Path(sys.executable).parent
SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "benchmarks"
QUESTIONS = {"aime24": 30, "aime25": 30, "hmmt25": 30, "math500": 500, "humaneval": 164, "mbpp": 399}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Heads of 32: vLLM's CPU attention takes no smaller ones.
    folder = tmp_path_factory.mktemp("tiny") / "model"
    return make_tiny_model(folder, hidden_size=64, num_heads=2, num_layers=2, max_length=8192)


def test_yarn_in_vllm_writes_what_yarn_in_transformers_writes(tmp_path: Path) -> None:
    from klear_data.generate.vllm_backend import VLLMEngine

    short = make_tiny_model(tmp_path / "short", hidden_size=64, num_heads=2, num_layers=2, max_length=512)
    changes = stretched(str(short), 1024)
    assert changes is not None
    asked = [Prompt(f"i{at}", [{"role": "user", "content": "x" * (300 + 97 * at)}]) for at in range(6)]
    params = SamplingParams(n=1, temperature=0.0, max_tokens=12)

    def tokens(overrides: dict[str, Any] | None) -> list[list[int]]:
        loaded = load_model_and_tokenizer(short, dtype="float32", device="cpu", overrides=overrides)
        return [one.completions[0].token_ids for one in generate(*loaded, asked, params)]

    engine = VLLMEngine(str(short), params, {"dtype": "float32", "enforce_eager": True, "hf_overrides": changes})
    try:
        found = [sampled.completions[0].token_ids for _, sampled in drive(engine, asked, window=100)]
    finally:
        engine.close()
    assert found == tokens(changes)
    assert found != tokens(None)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real data is not at hand")
def test_every_problem_of_each_benchmark_with_one_engine(tmp_path: Path, model: Path) -> None:
    line = ["eval", "--model", model, "--backend", "vllm", "--dtype", "float32", "--think", "none",
            "--benchmarks-dir", SHARED, "--benchmark", ",".join(QUESTIONS), "--n", 2, "--max-tokens", 8,
            "-o", "out"]  # fmt: skip
    run = subprocess.run([BIN / "klear", *map(str, line)], capture_output=True, cwd=tmp_path, check=False)
    assert run.returncode == 0, run.stderr.decode()
    found = json.loads((tmp_path / "out" / "summary.json").read_bytes())["benchmarks"]
    assert {name: one["questions"] for name, one in found.items()} == QUESTIONS
    assert all(one["samples"] == 2 * one["questions"] for one in found.values())
    assert all(one["sampling"]["backend"] == "vllm" for one in found.values())
