from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from klear_train.tiny import make_tiny_model, make_tokenizer


def test_any_text_survives_the_tokenizer() -> None:
    tokenizer = make_tokenizer()
    for text in ("<think>7+4=11</think>\n```python\nx = 1\n```", "Grüße, 你好 😀\t\x00", "  two  spaces \\boxed{1}"):
        ids = tokenizer(text, add_special_tokens=False).input_ids
        assert tokenizer.decode(ids, skip_special_tokens=True) == text
    assert len(tokenizer("<think>").input_ids) == 1


def test_the_folder_loads_like_any_model_with_its_chat_template(tmp_path: Path) -> None:
    folder = make_tiny_model(tmp_path / "model")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert 300_000 < model.num_parameters() < 500_000
    assert model.config.model_type == "qwen3"
    assert model.config.eos_token_id == model.generation_config.eos_token_id == tokenizer.eos_token_id
    chat = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]
    assert tokenizer.apply_chat_template(chat, tokenize=False) == "<|user|>Hi<|end|><|assistant|>Ho<|end|>"
    opened = tokenizer.apply_chat_template(chat[:1], tokenize=False, add_generation_prompt=True)
    assert opened == "<|user|>Hi<|end|><|assistant|>"


def test_the_seed_decides_the_weights_and_leaves_torch_s_own_alone(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    states = [
        AutoModelForCausalLM.from_pretrained(make_tiny_model(tmp_path / str(n), seed=seed)).state_dict()
        for n, seed in enumerate((3, 3, 4))
    ]
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert any(not torch.equal(states[0][name], states[2][name]) for name in states[0])
