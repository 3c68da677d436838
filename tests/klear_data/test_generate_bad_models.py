"""Model folders that are broken, and prompts that a model's template or tokenizer does not take."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
from safetensors.torch import load_file, save_file

from klear_data.errors import RecordError, UsageError
from klear_data.generate.transformers_backend import checked_text, encode_prompt, generate, load_model_and_tokenizer
from klear_data.generate.types import Prompt, SamplingParams
from klear_train.tiny import make_tiny_model

ASKED = [{"role": "user", "content": "1+1="}]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.set_num_threads(1)
    return make_tiny_model(tmp_path / "model", hidden_size=32, num_layers=2, num_heads=2, max_length=64)


def change_weights(folder: Path, change: Any) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_weights_that_break_off_are_named(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(UsageError, match="the model can't be loaded"):
        load_model_and_tokenizer(folder)


def test_weights_of_another_shape_are_named(folder: Path, tmp_path: Path) -> None:
    wider = make_tiny_model(tmp_path / "wider", hidden_size=48, num_layers=2, num_heads=2, max_length=64)
    shutil.copy(wider / "model.safetensors", folder / "model.safetensors")
    with pytest.raises(UsageError, match=r"have another shape, .* expected weights of the model that config\.json"):
        load_model_and_tokenizer(folder)


def test_weights_that_are_not_there_are_not_drawn_at_random(folder: Path) -> None:
    change_weights(folder, lambda weights: weights.pop("model.layers.1.mlp.up_proj.weight"))
    with pytest.raises(UsageError, match=r"1 weights are not in its files, model\.layers\.1\.mlp\.up_proj\.weight"):
        load_model_and_tokenizer(folder)


def test_logits_that_are_no_numbers_are_no_completion(folder: Path) -> None:
    change_weights(folder, lambda weights: weights["model.norm.weight"].fill_(float("nan")))
    prompts, params = [Prompt("a", ASKED)], SamplingParams(n=1, max_tokens=4)
    with pytest.raises(UsageError, match="record a: the model's logits are no numbers"):
        list(generate(*load_model_and_tokenizer(folder), prompts, params))


def test_a_template_that_refuses_a_prompt_names_its_record(folder: Path) -> None:
    model, tokenizer = load_model_and_tokenizer(folder)
    tokenizer.chat_template = "{{ raise_exception('no system role') }}"
    with pytest.raises(RecordError, match=r"record a: the chat template refuses its messages \(no system role\)"):
        list(generate(model, tokenizer, [Prompt("a", ASKED)], SamplingParams(n=1, max_tokens=4)))


def test_a_template_that_is_none_is_the_models_fault(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{% for m in messages %}{{ m['content'] ")
    _, tokenizer = load_model_and_tokenizer(folder)
    with pytest.raises(UsageError, match="the model's chat template: it can't be read"):
        checked_text(tokenizer, ASKED)


@pytest.mark.parametrize("templated", [True, False])
def test_half_a_surrogate_pair_is_a_question_mark_to_the_tokenizer(folder: Path, templated: bool) -> None:
    _, tokenizer = load_model_and_tokenizer(folder)
    if not templated:
        tokenizer.chat_template = None
    halved: list[dict[str, Any]] = json.loads('[{"role": "user", "content": "1\\ud83d"}]')
    assert encode_prompt(tokenizer, halved) == encode_prompt(tokenizer, [{"role": "user", "content": "1?"}])


def test_an_id_with_half_a_surrogate_pair_can_be_drawn_for(folder: Path) -> None:
    prompts = [Prompt("a\ud83d", ASKED)]
    (one,) = generate(*load_model_and_tokenizer(folder), prompts, SamplingParams(n=1, max_tokens=2))
    assert one.completions[0].token_ids
