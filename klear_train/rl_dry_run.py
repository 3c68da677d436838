"""What an RL run would be, before it is one: settings, size, memory, steps, and the first prompt as it is sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from klear_data.generate.transformers_backend import encode_prompt, prompt_text
from klear_train.config import to_toml
from klear_train.dry_run import empty_model, memory_lines, model_lines, size_text
from klear_train.memory import estimate
from klear_train.model import tokenizer_of
from klear_train.preflight import check_settings, that_fit, warnings_for
from klear_train.prompts import take
from klear_train.rollout import check_records
from klear_train.settings import RLConfig


def rl_dry_run(
    config: RLConfig, data: Iterable[dict[str, Any]], *, heldout: Sequence[dict[str, Any]] = (), devices: int = 1
) -> str:
    """The report of ``klear train rl --dry-run``; of the model only its config and tokenizer are read.

    Args:
        config: of the run.
        data: records as ``klear format rl`` writes them.
        heldout: records for ``evaluation.every``.
        devices: processes that the run would have.

    Raises:
        UsageError: no such model, or settings that contradict each other.
        RecordError: no data, or a record that can't be verified.
    """
    records = list(data)
    check_settings(config)
    check_records(records, heldout)
    tokenizer, model = tokenizer_of(config.model), empty_model(config)
    records = that_fit(records, model, tokenizer, max_tokens=config.rollout.max_tokens)
    lengths = [len(encode_prompt(tokenizer, record["prompt"], of=f"record {record['id']}")) for record in records]
    longest = max(lengths) + config.rollout.max_tokens
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokens = max(config.micro_batch_tokens, longest)
    training = estimate(model, config, devices=devices, device=device, tokens=tokens)
    first = take(records, 0, 1, seed=config.seed)[0]
    parts = [
        to_toml(config),
        model_lines(model),
        memory_lines(training, devices),
        sampling_lines(config, model, longest=longest, devices=devices),
        data_lines(records, lengths, heldout),
        step_lines(config, len(records)),
        "".join(f"warning      {text}\n" for text in warnings_for(config, len(records))),
        f"first prompt record {first['id']}, as it is sent\n{prompt_text(tokenizer, first['prompt'])}",
    ]
    return "\n".join(part for part in parts if part)


def sampling_lines(config: RLConfig, model: Any, *, longest: int, devices: int) -> str:
    """What else lies in a device's memory: a sampler's copy of the weights, keys and values, the reference."""
    total = sum(weight.numel() for weight in model.parameters())
    text = model.config.get_text_config()
    size = 2 if config.model.dtype == "bfloat16" else 4
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    parts = []
    if config.rollout.engine == "vllm":
        share = config.rollout.vllm.get("gpu_memory_utilization")
        parts.append(f"vLLM's share ({'its default' if share is None else share}), the weights' copy included")
    else:
        cache = 2 * text.num_hidden_layers * heads * width * size * longest * config.rollout.batch_size
        copies = devices > 1 or config.model.dtype != "float32"
        parts.append(f"keys and values up to {size_text(cache)}")
        parts += [f"a copy of the weights {size_text(size * total)}"] if copies else []
    if config.loss.kl_weight:
        parts.append(f"the reference {size_text(4 * total / devices)}")
    return f"beside it    {', '.join(parts)}\n"


def data_lines(records: Sequence[dict[str, Any]], lengths: Sequence[int], heldout: Sequence[dict[str, Any]]) -> str:
    abilities = Counter(record["ability"] for record in records)
    kinds = ", ".join(f"{count:,} {ability}" for ability, count in sorted(abilities.items()))
    return (
        f"data         {len(records):,} records ({kinds}), {len(heldout):,} held out\n"
        f"prompts      median {int(np.median(lengths)):,} tokens, longest {max(lengths):,}\n"
    )


def step_lines(config: RLConfig, num_records: int) -> str:
    rollout = config.rollout
    prompts = min(rollout.prompts_per_step, num_records)
    updates = -(-prompts // config.prompts_per_minibatch) * config.epochs
    refill = f", up to {prompts * (1 + rollout.refill_rounds)} with refills" if rollout.refill_rounds else ""
    return (
        f"steps        {config.steps:,}, {-(-num_records // prompts):,} of them an epoch of the prompts\n"
        f"a step       {prompts} prompts{refill} x {rollout.n} rollouts of at most {rollout.max_tokens:,} tokens, "
        f"{updates} updates of {config.prompts_per_minibatch} prompts\n"
    )
