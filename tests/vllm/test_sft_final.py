"""What SFT leaves in ``final/`` is a folder that the real vLLM loads, with the weights that were trained."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("vllm", reason="vLLM is not installed; `make test-vllm` installs its CPU build")

from klear_train.config import load_config
from klear_train.sft import run_sft
from klear_train.tiny import make_tiny_model

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(280)]
ANSWER = "<think>one and two</think>\\boxed{3}"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_final_loads_in_vllm_with_tied_embeddings_and_says_what_was_trained(tmp_path: Path, dtype: str) -> None:
    from vllm import LLM, SamplingParams

    # Heads of 32: vLLM's CPU attention takes no smaller ones.
    model = make_tiny_model(tmp_path / "model", hidden_size=64, num_heads=2, num_layers=2)
    messages = [{"role": "user", "content": "What is 1 + 2?"}, {"role": "assistant", "content": ANSWER}]
    overrides = [f"model.path={model}", f"model.dtype={dtype}", "epochs=60", "max_steps=60", "checkpoint.every=0"]
    config = load_config("sft", recipe="tiny-sft", overrides=overrides)
    final = run_sft(config, [{"id": "a/0", "messages": messages}], out_dir=tmp_path / "run", quiet=True).final

    engine: Any = LLM(str(final), enforce_eager=True, max_num_seqs=4, disable_log_stats=True)
    params = SamplingParams(temperature=0, max_tokens=40, logprobs=0)
    (result,) = engine.chat([messages[:1]], params, use_tqdm=False)
    (found,) = result.outputs
    assert found.text.removesuffix("<|end|>") == ANSWER
    probabilities = [math.exp(next(iter(step.values())).logprob) for step in found.logprobs]
    assert min(probabilities) > 0.8, "as sure as the model was after training"
