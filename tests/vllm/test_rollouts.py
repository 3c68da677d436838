"""RL's engine: the real vLLM follows the policy's weights, and a push that goes wrong is seen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("vllm", reason="vLLM is not installed; `make test-vllm` installs its CPU build")

from klear_data.generate.transformers_backend import load_model_and_tokenizer
from klear_data.generate.types import Prompt, SamplingParams
from klear_train.rollout.engines import TransformersRollouts
from klear_train.rollout.probe import SamplerOutOfStep, check_in_step
from klear_train.rollout.vllm_engine import VLLMRollouts
from klear_train.tiny import make_tiny_model

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(280)]
PROBE = [[5, 70, 90, 33, 12, 200], [7] * 20]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("tiny") / "model", hidden_size=64, num_heads=2, num_layers=2)


@pytest.fixture(scope="module")
def sampler(folder: Path) -> Iterator[VLLMRollouts]:
    options = {"dtype": "float32", "enforce_eager": True, "max_num_seqs": 16}
    engine = VLLMRollouts(str(folder), options, several_ranks=False)
    yield engine
    engine.close()


@pytest.fixture
def trainer(folder: Path) -> TransformersRollouts:
    model, tokenizer = load_model_and_tokenizer(folder, dtype="float32")
    return TransformersRollouts(model, tokenizer, batch_size=16, follows=False)


def shaken(trainer: TransformersRollouts, seed: int) -> list[tuple[str, torch.Tensor]]:
    """Every weight of the trainer moved a little; all of them under all of their names."""
    generator = torch.Generator().manual_seed(seed)
    model: Any = trainer._model
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return list(model.named_parameters(remove_duplicate=False))


def gap(sampler: VLLMRollouts, trainer: TransformersRollouts) -> float:
    return check_in_step(sampler.logprobs(PROBE), trainer.logprobs(PROBE), limit=1e-3, step=0)


def test_what_it_drew_has_the_trainers_log_probabilities(sampler, trainer) -> None:
    sampler.push(trainer._model.named_parameters(remove_duplicate=False))
    prompts = [Prompt(f"id-{n}", [{"role": "user", "content": "x" * n}]) for n in range(1, 12)]
    heard: list[str] = []
    params = SamplingParams(n=3, temperature=0.7, top_p=1.0, max_tokens=12, seed=3)
    results = list(sampler.sample(prompts, params, lambda sampled: heard.append(sampled.record_id)))
    assert [one.record_id for one in results] == sorted(heard, key=lambda name: int(name[3:]))
    for one in results:
        for completion in one.completions:
            ids = [*one.prompt_ids, *completion.token_ids]
            with torch.inference_mode():
                logits_TV = trainer._model(torch.tensor([ids])).logits[0] / 0.7
            expected_T = logits_TV.log_softmax(-1)[range(len(one.prompt_ids) - 1, len(ids) - 1), completion.token_ids]
            torch.testing.assert_close(torch.tensor(completion.logprobs), expected_T, rtol=1e-3, atol=1e-4)


def test_a_push_arrives_whole_three_times(sampler, trainer) -> None:
    for seed in range(3):
        weights = shaken(trainer, seed)
        with pytest.raises(SamplerOutOfStep, match="disagree by"):
            gap(sampler, trainer)
        sampler.push(weights)
        assert gap(sampler, trainer) < 1e-4


def test_a_push_without_the_tied_head_is_seen(sampler, trainer) -> None:
    weights = [(name, tensor) for name, tensor in shaken(trainer, 9) if name != "lm_head.weight"]
    sampler.push(weights)
    with pytest.raises(SamplerOutOfStep, match="step 0: sampler and trainer disagree"):
        gap(sampler, trainer)
