"""Loading a Hugging Face causal model for training: on one process, or in shards over many."""

from __future__ import annotations

from typing import Any

import torch


from klear_data.errors import UsageError
from klear_data.generate.transformers_backend import load_model_and_tokenizer
from klear_train.model import attention
from klear_train.settings import ModelSection

_HEAD_CHANGES = ("final_logit_softcapping", "logit_scale", "logits_scaling", "output_multiplier_scale")


def load_for_training(config: ModelSection) -> tuple[Any, Any]:
    """A causal model in training mode and its tokenizer, whole, on this process.

    Raises:
        UsageError: the folder is none, the tokenizer has no end-of-sequence token (no rollout would ever
            end), or the model changes its logits after the head in a way klear does not compute.
    """
    path = config.path
    if not path:
        raise UsageError("model.path: no model is named; expected a model folder or a hub id; give --model")
    if config.threads:
        torch.set_num_threads(config.threads)
    model, tokenizer = load_model_and_tokenizer(path, dtype=config.dtype)
    if tokenizer.eos_token_id is None:
        raise UsageError(
            f"{path}: the tokenizer names no end-of-sequence token; expected one; set `eos_token` in its config"
        )
    prepare(model, config)
    return model, tokenizer


def prepare(model: Any, config: ModelSection) -> None:
    """Give a loaded model klear's attention and the configured way to keep activations.

    Raises:
        UsageError: it computes attention or logits in a way of its own.
    """
    changed = [name for name in _HEAD_CHANGES if getattr(model.config, name, None) not in (None, 1, 1.0)]
    if changed:
        raise UsageError(
            f"{config.path}: the model's config sets {', '.join(changed)}; expected logits straight from the output "
            "layer; train a model without it"
        )
    attention.install(model, config.attention)
    if config.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    model.train()
