"""What --dry-run says, and that its memory estimate is what a step takes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

from klear_data.errors import RecordError, UsageError
from klear_train.config import load_config
from klear_train.dry_run import SHOWN_TOKENS, dry_run, empty_model, marked
from klear_train.memory import estimate, layer_bytes
from klear_train.model import attention, hidden_states_TD
from klear_train.packing import Example, collate
from klear_train.settings import SFTConfig
from klear_train.tiny import make_tiny_model, make_tokenizer


def records(count: int) -> list[dict[str, Any]]:
    return [
        {"id": str(at), "messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": f"A{at:03}"}]}
        for at in range(count)
    ]


def config(model: Path, *overrides: str) -> SFTConfig:
    return load_config("sft", recipe="tiny-sft", overrides=[f"model.path={model}", "max_steps=6", *overrides])


def test_the_report_says_what_the_run_would_be(tiny_model: Path) -> None:
    data = [
        *records(60),
        {"id": "long", "messages": [records(1)[0]["messages"][0], {"role": "assistant", "content": "x" * 500}]},
    ]
    text = dry_run(config(tiny_model, "pack_tokens=64", "rows_per_step=2"), data)
    assert "pack_tokens = 64" in text
    assert "Qwen3ForCausalLM, 35,264 parameters, 35,264 of them trained" in text
    assert "61 records, 60 examples; 1 overlong (dropped)" in text
    assert "tokens       540 an epoch, 55.6% of them carry loss" in text  # 9 tokens each, 5 of them the answer's
    assert "9 rows of 64 tokens, 93.8% full" in text
    assert "steps        6 (5 an epoch, 40 epochs), 2 rows and about 108 tokens each" in text
    assert "first row    7 examples, 63 tokens; what carries loss is in ⟦brackets⟧" in text
    assert re.search(
        r"--- example (\d+) \(record \1\), 9 tokens\n<\|user\|>Q<\|end\|><\|assistant\|>⟦A\d{3}<\|end\|>⟧", text
    )


def test_on_a_terminal_the_mask_is_a_colour(tiny_model: Path) -> None:
    text = dry_run(config(tiny_model), records(3), colour=True)
    assert "\x1b[2m<|user|>Q<|end|><|assistant|>\x1b[0m\x1b[32mA00" in text
    assert "⟦" not in text


def test_a_long_example_shows_its_ends() -> None:
    tokenizer = make_tokenizer()
    tokens = np.array(tokenizer("a" * 300 + "b" * 700).input_ids, dtype=np.int32)
    text = marked(tokens, np.arange(1000) >= 100, tokenizer, colour=False)
    half = SHOWN_TOKENS // 2
    assert (
        text
        == "a" * 100 + "⟦" + "a" * (half - 100) + "⟧" + f" … {1000 - SHOWN_TOKENS} tokens … " + "⟦" + "b" * half + "⟧"
    )


def test_control_characters_in_the_data_do_not_reach_the_terminal() -> None:
    tokenizer = make_tokenizer()
    tokens = np.array(tokenizer("a\x1b[2Jb").input_ids, dtype=np.int32)
    assert marked(tokens, np.zeros(len(tokens), bool), tokenizer, colour=False) == "a␛[2Jb"


def test_what_a_run_would_refuse_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="no records"):
        dry_run(config(tiny_model), [])
    with pytest.raises(UsageError, match="has no config"):
        dry_run(config(tmp_path), records(3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("make", "settings"), [(Qwen3ForCausalLM, Qwen3Config), (LlamaForCausalLM, LlamaConfig)], ids=["qwen3", "llama"]
)
def test_a_layer_keeps_the_bytes_that_are_estimated(make: Any, settings: Any, dtype: torch.dtype) -> None:
    """Against what autograd really saves, to the byte, by the difference of two depths."""

    def saved(layers: int) -> tuple[int, Any]:
        shape = settings(vocab_size=100, hidden_size=96, intermediate_size=256, num_hidden_layers=layers,
                         num_attention_heads=2, num_key_value_heads=1, head_dim=32)  # fmt: skip
        model = make(shape).to(dtype)
        attention.install(model, "sdpa")
        weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
        found: dict[int, torch.Tensor] = {}

        def note(tensor: torch.Tensor) -> torch.Tensor:
            if tensor.untyped_storage().data_ptr() not in weights:
                found[tensor.untyped_storage().data_ptr()] = tensor
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            hidden_states_TD(model, collate([Example([at % 100 for at in range(64)], [False] * 64)]))
        return sum(tensor.untyped_storage().nbytes() for tensor in found.values()), shape

    (one, shape), (three, _) = saved(1), saved(3)
    head_norms = make is Qwen3ForCausalLM
    assert (three - one) / 2 / 64 == layer_bytes(shape, dtype.itemsize, head_norms=head_norms)


def test_devices_share_what_is_sharded_and_checkpointing_keeps_one_layer(tiny_model: Path) -> None:
    settings = config(tiny_model)
    model = empty_model(settings)
    one, four = (estimate(model, settings, devices=devices) for devices in (1, 4))
    assert one.weights == 4 * sum(weight.numel() for weight in model.parameters())
    assert (one.optimizer, one.gathered) == (2 * one.weights, 0)
    assert (four.weights, four.gradients, four.optimizer) == (one.weights / 4, one.gradients / 4, one.optimizer / 4)
    assert 0 < four.gathered <= one.weights
    assert four.activations == one.activations
    kept = estimate(model, config(tiny_model, "model.gradient_checkpointing=true"), devices=1)
    assert kept.activations < one.activations
    whole = estimate(model, config(tiny_model, "model.reshard=false", "model.dtype=bfloat16"), devices=4)
    assert whole.gathered == one.weights / 2


def test_adapters_need_gradients_for_themselves_only(tiny_model: Path) -> None:
    pytest.importorskip("peft")
    settings = config(tiny_model, "lora.rank=4")
    memory = estimate(empty_model(settings), settings, devices=1)
    assert 0 < memory.gradients < memory.weights / 2


def test_a_model_of_an_unknown_kind_is_said_clearly(tmp_path: Path) -> None:
    folder = make_tiny_model(tmp_path / "model", hidden_size=32, num_layers=2, num_heads=2)
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {"model_type": "unheard"}))
    with pytest.raises(UsageError, match=r"the model can't be loaded \(The checkpoint .*`unheard`"):
        dry_run(config(folder), records(3))
