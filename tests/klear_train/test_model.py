"""Packed sequences, seen by several architectures as each is alone, and the head in chunks against plain logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F
from transformers import AutoConfig, AutoModelForCausalLM

from klear_data.errors import UsageError
from klear_train.model import (
    Policy,
    check_documents_stay_apart,
    hidden_states_TD,
    load_for_training,
    nll_sum,
    target_logprobs,
)
from klear_train.model import head as head_module
from klear_train.model.load import prepare
from klear_train.packing import Batch, Example, collate
from klear_train.settings import ModelSection

VOCABULARY = 97
LENGTHS = [23, 9, 40, 2, 17]
SMALL = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128, "pad_token_id": 0,
    "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "qwen3": {**SMALL, "head_dim": 16, "tie_word_embeddings": True},
    "qwen2": {**SMALL, "use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1},
    "llama": {**SMALL, "attention_bias": True},
    "mistral": {**SMALL, "sliding_window": 8},
    "phi": {**SMALL, "num_key_value_heads": 4},  # its head has a bias
    "gemma": {**SMALL, "head_dim": 8},
    "olmo2": SMALL,
    "gpt2": {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128,
             "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
    "qwen3_moe": {**SMALL, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16},
}  # fmt: skip


def make(architecture: str, *, attention: str = "auto", seed: int = 0, **changes: Any) -> Any:
    torch.manual_seed(seed)
    values = {"initializer_range": 0.2, **ARCHITECTURES[architecture], **changes}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(architecture, **values))
    prepare(model, ModelSection(path=architecture, attention=attention))
    return model


def examples(lengths: list[int] = LENGTHS, vocabulary: int = VOCABULARY) -> list[Example]:
    generator = torch.Generator().manual_seed(1)
    made = []
    for length in lengths:
        tokens = torch.randint(0, vocabulary, (length,), generator=generator).tolist()
        made.append(Example(tokens, [at > length // 3 for at in range(length)]))
    return made


def plain_logprobs(model: Any, example: Example, temperature: float = 1.0) -> torch.Tensor:
    """Of the trained tokens, from the logits of the model's own forward on the sequence alone."""
    logits_TV = model(torch.tensor([example.tokens])).logits[0].float() / temperature
    logprobs_TV = logits_TV.log_softmax(-1)
    return torch.stack([logprobs_TV[t - 1, example.tokens[t]] for t, flag in enumerate(example.trained) if flag])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_packed_sequences_have_the_log_probabilities_they_have_alone(architecture: str) -> None:
    model = make(architecture).eval()
    with torch.no_grad():
        alone_N = torch.cat([plain_logprobs(model, example, 0.7) for example in examples()])
        packed_N, _ = target_logprobs(model, collate(examples()), temperature=0.7)
        loss = nll_sum(model, collate(examples()), scale=0.25)
    torch.testing.assert_close(packed_N, alone_N, rtol=1e-5, atol=1e-5)
    cold = torch.cat([plain_logprobs(model, example) for example in examples()])
    assert float(loss) == pytest.approx(-0.25 * float(cold.detach().sum()), rel=1e-5)


@pytest.mark.parametrize("window", [None, 8])
def test_flex_attention_agrees_with_sdpa(window: int | None) -> None:
    model = make("llama") if window is None else make("mistral", sliding_window=window)
    with torch.no_grad():  # on a CPU it has no backward pass
        sdpa_N, _ = target_logprobs(model, collate(examples()))
        model.klear_kernel = "flex"
        flex_N, _ = target_logprobs(model, collate(examples()))
    torch.testing.assert_close(flex_N, sdpa_N, rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("attention", ["varlen", "flex", "flash"])
def test_attention_for_gpus_is_refused_without_one(attention: str) -> None:
    with pytest.raises(UsageError, match="it trains on GPUs only"):
        make("qwen3", attention=attention)


@pytest.mark.gpu
@pytest.mark.parametrize("attention", ["auto", "varlen", "flex", "sdpa"])
@pytest.mark.parametrize("architecture", ["qwen3", "mistral"])
def test_on_a_gpu_packed_sequences_have_the_log_probabilities_they_have_alone(
    architecture: str, attention: str
) -> None:
    model = make(architecture, attention=attention, num_attention_heads=4, head_dim=64).cuda().to(torch.bfloat16)
    with torch.no_grad():
        alone_N = torch.cat([target_logprobs(model, collate([one]).to("cuda"))[0] for one in examples()])
        packed_N, _ = target_logprobs(model, collate(examples()).to("cuda"))
        plain_N = torch.cat([plain_logprobs(model.cpu().float(), example) for example in examples()])
    torch.testing.assert_close(packed_N, alone_N, rtol=0.02, atol=0.05)
    torch.testing.assert_close(packed_N.cpu(), plain_N, rtol=0.05, atol=0.2)


def gradients(model: Any) -> dict[str, torch.Tensor]:
    found = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    return found


@pytest.mark.parametrize("architecture", ["qwen3", "llama", "phi"])  # tied, untied, with a bias
@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_gradients_in_chunks_equal_those_of_plain_logits(architecture: str, rows: int, monkeypatch) -> None:
    monkeypatch.setitem(head_module.CHUNK_BYTES, "cpu", rows * 4 * VOCABULARY)
    model = make(architecture)
    weights_N = torch.linspace(-1, 2, sum(example.num_trained for example in examples()))
    alone_N = torch.cat([plain_logprobs(model, example, 0.7) for example in examples()])
    (alone_N * weights_N).sum().backward()
    expected = gradients(model)
    logprobs_N, _ = target_logprobs(model, collate(examples()), temperature=0.7)
    (logprobs_N * weights_N).sum().backward()
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-4, msg=name)

    (-0.5 * torch.cat([plain_logprobs(model, example) for example in examples()]).sum()).backward()
    expected = gradients(model)
    (nll_sum(model, collate(examples()), scale=0.25) * 2).backward()
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-4, msg=name)


def test_entropy_is_that_of_the_logits(monkeypatch) -> None:
    monkeypatch.setitem(head_module.CHUNK_BYTES, "cpu", 5 * 4 * VOCABULARY)
    model, batch = make("qwen3"), collate(examples())
    logprobs_N, entropy_N = target_logprobs(model, batch, temperature=0.7, with_entropy=True)
    logits_NV = model.get_output_embeddings()(hidden_states_TD(model, batch)[batch.predictors_N]) / 0.7
    torch.testing.assert_close(entropy_N, torch.distributions.Categorical(logits=logits_NV).entropy())
    assert logprobs_N.requires_grad
    assert not entropy_N.requires_grad
    assert target_logprobs(model, batch)[1] is None


def test_a_frozen_head_gets_no_gradient_and_no_gradient_is_made_without_need() -> None:
    model, batch = make("llama"), collate(examples())
    model.get_output_embeddings().weight.requires_grad_(False)
    nll_sum(model, batch).backward()
    assert model.get_output_embeddings().weight.grad is None
    assert model.get_input_embeddings().weight.grad is not None
    with torch.no_grad():
        assert not nll_sum(model, batch).requires_grad


def test_a_batch_without_trained_tokens_gives_zero_to_every_parameter() -> None:
    model = make("qwen3")
    loss = nll_sum(model, collate([Example([1, 2, 3], [False] * 3)]), scale=3.0)
    loss.backward()
    assert float(loss) == 0
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in model.parameters())


def test_activation_checkpointing_changes_no_gradient(tmp_path: Path) -> None:
    found = []
    for checkpointing in (False, True):
        model = make("mistral")
        prepare(model, ModelSection(path="x", gradient_checkpointing=checkpointing))
        nll_sum(model, collate(examples())).backward()
        found.append(gradients(model))
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_sampling_still_sees_padding_and_a_cache(tiny_model: Path) -> None:
    model, _ = load_for_training(ModelSection(path=str(tiny_model)))
    prompt = torch.tensor([[5, 6, 7, 8]])
    padded = torch.tensor([[0, 0, 5, 6, 7, 8]])
    options: dict[str, Any] = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
    with torch.no_grad():
        alone = model.generate(prompt, attention_mask=torch.ones_like(prompt), **options)
        mask = torch.tensor([[0, 0, 1, 1, 1, 1]])
        assert model.generate(padded, attention_mask=mask, **options)[0, 6:].tolist() == alone[0, 4:].tolist()


@pytest.mark.parametrize(
    ("architecture", "changes", "message"),
    [
        ("gemma2", {**SMALL, "head_dim": 8}, "final_logit_softcapping"),
        ("gemma2", {**SMALL, "head_dim": 8, "final_logit_softcapping": None}, "attention uses softcap"),
        ("mamba", {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 1}, "attention in a way of its"),
    ],
)
def test_what_klear_would_compute_wrongly_is_refused(architecture: str, changes: Any, message: str) -> None:
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(architecture, **changes))
    with pytest.raises(UsageError, match=message):
        prepare(model, ModelSection(path=architecture))
        check_documents_stay_apart(Policy(model), VOCABULARY, torch.device("cpu"))


def test_a_model_whose_sequences_see_each_other_is_found_out(monkeypatch) -> None:
    policy = Policy(make("qwen3"))
    check_documents_stay_apart(policy, VOCABULARY, torch.device("cpu"))

    def leaky(query: Any, key: Any, value: Any, *_: Any) -> Any:
        return F.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)

    monkeypatch.setattr("klear_train.model.attention.per_document", leaky)
    with pytest.raises(UsageError, match="packed sequences see each other"):
        check_documents_stay_apart(policy, VOCABULARY, torch.device("cpu"))


def test_memory_of_the_head_does_not_grow_with_the_logits() -> None:
    """The largest tensor that the loss makes is a chunk of logits or the weight's gradient, not N×V."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        numbers = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **(kwargs or {}))
            for tensor in out if isinstance(out, tuple | list) else [out]:
                if isinstance(tensor, torch.Tensor):
                    self.numbers = max(self.numbers, tensor.numel())
            return out

    N, D, V = 3000, 16, 151_936
    hidden_ND = torch.randn(N, D, requires_grad=True)
    weight_VD = torch.randn(V, D, requires_grad=True)
    with Largest() as largest:
        head_module.nll_sum(hidden_ND, weight_VD, None, torch.randint(0, V, (N,)), scale=1.0).backward()
    assert largest.numbers <= max(V * D, head_module.CHUNK_BYTES["cpu"] // 4)
    assert isinstance(collate(examples()), Batch)
