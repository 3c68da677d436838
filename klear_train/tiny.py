"""A byte-level Qwen3 of a third of a million parameters, made on the spot: what the demo and the tests train.

Nothing is downloaded. The folder is an ordinary Hugging Face one (``AutoTokenizer`` and
``AutoModelForCausalLM`` load it), so every stage treats it as it would treat Qwen3-8B.
"""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

END, PAD = "<|end|>", "<|pad|>"
ROPE_THETA = 500.0
ROLES = ("system", "user", "assistant")

# One token a role and one for the end of a turn: a byte-level model pays for every character of a
# template on each prompt. The assistant opens <think> itself, as the reward expects by default.
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def make_tokenizer(*, max_length: int = 512) -> PreTrainedTokenizerFast:
    """A tokenizer of the 256 bytes, the chat marks, and ``<think>``/``</think>`` as single tokens.

    The think tags are added but not special, so that decoding with ``skip_special_tokens`` keeps them
    (Qwen3 does the same).
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={char: index for index, char in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    marks = [PAD, END, *(f"<|{role}|>" for role in ROLES)]
    tokenizer.add_special_tokens([AddedToken(mark, special=True) for mark in marks])
    tokenizer.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in ("<think>", "</think>")])
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        model_max_length=max_length,
        clean_up_tokenization_spaces=False,
    )
    wrapped.chat_template = CHAT_TEMPLATE
    return wrapped


def make_tiny_model(
    out_dir: str | Path,
    *,
    seed: int = 0,
    hidden_size: int = 96,
    num_layers: int = 3,
    num_heads: int = 3,
    max_length: int = 512,
) -> Path:
    """Write a randomly initialised Qwen3-shaped model and its tokenizer to ``out_dir``.

    Args:
        out_dir: a folder, made if absent.
        seed: of the initial weights; the same seed writes the same weights.
        hidden_size: width; the feed-forward layers are three times as wide.
        num_layers: decoder layers.
        num_heads: attention heads of ``hidden_size / num_heads`` dimensions, one key/value head each.
        max_length: context in tokens.

    Returns:
        ``out_dir`` as a path.
    """
    tokenizer = make_tokenizer(max_length=max_length)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=3 * hidden_size,
        num_hidden_layers=num_layers,
        num_attention_heads=num_heads,
        num_key_value_heads=num_heads,
        head_dim=hidden_size // num_heads,
        max_position_embeddings=max_length,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        # A context of hundreds of tokens, not of thousands: higher frequencies tell neighbours apart sooner.
        rope_parameters={"rope_type": "default", "rope_theta": ROPE_THETA},
        initializer_range=hidden_size**-0.5 / 2,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Qwen3ForCausalLM(config)
    path = Path(out_dir)
    path.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path
