"""How much memory a training step will take on each device, told from the model's config before it is loaded.

What is counted: weights, gradients and AdamW's two moments in float32, shared out over the devices; what FSDP
gathers to compute with; the activations that wait for the backward pass, by a count over the operations of a
decoder layer with gated feed-forward; the logits of a chunk and the head's gradient. Kernels' workspaces and
fragmentation come on top.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from klear_train.model.head import CHUNK_BYTES
from klear_train.settings import RLConfig, SFTConfig


@dataclass(frozen=True)
class Estimate:
    """Bytes on one device, by what they are for."""

    weights: float
    gradients: float
    optimizer: float
    gathered: float
    activations: float
    head: float

    @property
    def total(self) -> float:
        return self.weights + self.gradients + self.optimizer + self.gathered + self.activations + self.head


def estimate(
    model: Any, config: SFTConfig | RLConfig, *, devices: int, device: str = "cpu", tokens: int | None = None
) -> Estimate:
    """The memory of a step.

    Args:
        model: a transformers causal model; its tensors may be on the meta device.
        config: of the run.
        devices: processes that the model is sharded over.
        device: ``cpu`` or ``cuda``; decides how large a chunk of logits is.
        tokens: of the largest micro-batch of RL, where one rollout alone is larger than ``micro_batch_tokens``.
    """
    total = sum(weight.numel() for weight in model.parameters())
    trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    text = model.config.get_text_config()
    head = model.get_output_embeddings().weight
    layers = text.num_hidden_layers
    in_layers = sum(w.numel() for name, w in model.named_parameters() if ".layers." in name)
    sharded = devices > 1 or config.model.dtype != "float32"
    size = 2 if config.model.dtype == "bfloat16" else 4
    if not sharded:
        gathered = 0.0
    elif config.model.reshard:
        # The layer at work and the next one on its way, and what lies outside the layers.
        gathered = size * (2 * in_layers / layers + (total - in_layers))
    else:
        gathered = float(size * total)
    if isinstance(config, SFTConfig):
        tokens = config.pack_tokens * config.rows_per_micro_batch
    elif tokens is None:
        tokens = config.micro_batch_tokens
    of_layer = layer_bytes(text, size, head_norms=any("q_norm" in name for name, _ in model.named_parameters()))
    kept = size * text.hidden_size * layers + of_layer if config.model.gradient_checkpointing else of_layer * layers
    head_gradient = 4.0 * head.numel() if head.requires_grad else 0.0
    logits = min(CHUNK_BYTES.get(device, CHUNK_BYTES["cuda"]), 4 * head.shape[0] * tokens)
    return Estimate(
        weights=4.0 * total / devices,
        gradients=4.0 * trained / devices,
        optimizer=8.0 * trained / devices,
        gathered=gathered,
        activations=tokens * (kept + 4.0 * text.hidden_size),
        # Logits and what is computed from them side by side; the states' gradient; the weight's sum in float32.
        head=2.0 * logits + size * text.hidden_size * tokens + head_gradient,
    )


def layer_bytes(text: Any, size: int, *, head_norms: bool) -> float:
    """Bytes a token leaves in a decoder layer for the backward pass.

    Args:
        text: the model's config.
        size: bytes of a number in the layer's computations; norms compute in float32 and keep their input so.
        head_norms: whether queries and keys go through norms of their own (as in Qwen3).
    """
    heads, kv_heads = text.num_attention_heads, getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    dim = getattr(text, "head_dim", None) or text.hidden_size // heads
    width, inner = text.hidden_size, text.intermediate_size
    experts = getattr(text, "num_experts_per_tok", None)
    if experts and getattr(text, "moe_intermediate_size", None):
        inner = experts * text.moe_intermediate_size
    norms = 2 * (width * (4 + 2 * size) + 4)  # input in float32, its normalised form, its product with the weight
    of_heads = (heads + kv_heads) * (dim * (4 + size) + 4) if head_norms else 0
    attention = 2 * (heads + kv_heads) * dim * size + 4 * heads  # queries, keys, values, output; log-sum-exps
    feed_forward = 4 * inner * size  # gate, up, the activated gate, their product
    return float(norms + of_heads + attention + feed_forward)
