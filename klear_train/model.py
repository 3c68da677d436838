"""Loading a Hugging Face causal model and asking it for log-probabilities of given tokens.

Shapes: B rows of T tokens, N trained tokens, D the model's width, V its vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from klear_data.errors import UsageError
from klear_data.generate.transformers_backend import load_model_and_tokenizer
from klear_train.packing import Batch
from klear_train.settings import ModelSection

CHUNK_ELEMENTS = 1 << 25
"""Logits held at once, in numbers (128 MiB in float32): more rows are computed in pieces and recomputed in the
backward pass, so that T×V logits never exist."""

_HEAD_CHANGES = ("final_logit_softcapping", "logit_scale", "logits_scaling", "output_multiplier_scale")


def load_for_training(config: ModelSection) -> tuple[Any, Any]:
    """A causal model in training mode and its tokenizer.

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
    changed = [name for name in _HEAD_CHANGES if getattr(model.config, name, None) not in (None, 1, 1.0)]
    if changed:
        raise UsageError(
            f"{path}: the model's config sets {', '.join(changed)}; expected logits straight from the output "
            "layer; train a model without it"
        )
    if config.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    model.train()
    return model, tokenizer


def hidden_states_BTD(model: Any, batch: Batch) -> Tensor:
    """The decoder's last hidden states; attention never crosses from one packed sequence to another."""
    return model.base_model(
        input_ids=batch.input_ids_BT,
        attention_mask=batch.attention_mask_B1TT(),
        position_ids=batch.position_ids_BT,
        use_cache=False,
    ).last_hidden_state


def target_logprobs(
    model: Any, batch: Batch, *, temperature: float = 1.0, with_entropy: bool = False
) -> tuple[Tensor, Tensor | None]:
    """log π of the batch's trained tokens, (N,), and on request the entropy at each, (N,), without gradient.

    Args:
        model: a causal model whose head is one linear layer.
        batch: packed sequences.
        temperature: divides the logits, as the sampler divided them.
        with_entropy: compute H(π(·|prefix)) too.
    """
    hidden_ND = hidden_states_BTD(model, batch).flatten(0, 1)[batch.predictors_N]
    head = model.get_output_embeddings()
    rows = max(1, CHUNK_ELEMENTS // head.weight.shape[0])
    if batch.num_trained <= rows:
        return _chunk(head, hidden_ND, batch.targets_N, temperature, with_entropy)
    parts = [
        checkpoint(_chunk, head, hidden, targets, temperature, with_entropy, use_reentrant=False)
        for hidden, targets in zip(hidden_ND.split(rows), batch.targets_N.split(rows), strict=True)
    ]
    entropy_N = torch.cat([entropy for _, entropy in parts]) if with_entropy else None
    return torch.cat([logprobs for logprobs, _ in parts]), entropy_N


def _chunk(
    head: Any, hidden_ND: Tensor, targets_N: Tensor, temperature: float, with_entropy: bool
) -> tuple[Tensor, Tensor | None]:
    logits_NV = head(hidden_ND).float()
    if temperature != 1.0:
        logits_NV = logits_NV / temperature
    logprobs_N = -F.cross_entropy(logits_NV, targets_N, reduction="none")
    if not with_entropy:
        return logprobs_N, None
    with torch.no_grad():
        logprobs_NV = logits_NV.log_softmax(-1)
        return logprobs_N, -(logprobs_NV.exp() * logprobs_NV).sum(-1)
