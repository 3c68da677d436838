"""What stands in ``final/`` beside the weights."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import GenerationConfig, Qwen3Config, Qwen3ForCausalLM

from klear_data.generate.transformers_backend import end_tokens, load_model_and_tokenizer
from klear_train.final import save_final
from tests.klear_train import chat_styles as styles


@pytest.mark.parametrize(
    ("style", "ends"),
    [
        (styles.QWEN25, ["<|endoftext|>", "<|im_end|>"]),
        (styles.QWEN3, ["<|im_end|>"]),
        (styles.PHI3, ["<|endoftext|>", "<|end|>"]),
    ],
    ids=["qwen2.5", "qwen3", "phi-3"],
)
def test_samplers_of_the_final_model_stop_where_its_turns_end(tmp_path: Path, style: styles.Style, ends) -> None:
    tokenizer = styles.tokenizer_of(style)
    config = Qwen3Config(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=1,
        num_key_value_heads=1, head_dim=16, eos_token_id=tokenizer.eos_token_id, bos_token_id=None,
    )  # fmt: skip
    final = save_final(tmp_path / "final", Qwen3ForCausalLM(config), tokenizer)
    expected = set(tokenizer.convert_tokens_to_ids(ends))
    listed = GenerationConfig.from_pretrained(final).eos_token_id
    assert set(listed if isinstance(listed, list) else [listed]) == expected
    assert len({path.stat().st_mode for path in final.iterdir()}) == 1, "who reads one file reads the weights too"
    model, again = load_model_and_tokenizer(final, dtype="float32", device="cpu")
    assert end_tokens(model, again) == expected
    save_final(tmp_path / "after", model, again)  # as RL does with what SFT left
    after = GenerationConfig.from_pretrained(tmp_path / "after").eos_token_id
    assert set(after if isinstance(after, list) else [after]) == expected
