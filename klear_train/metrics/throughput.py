"""How much a step computes, how fast, and in how much memory.

The floating-point operations counted are those the model needs, whatever the implementation repeats (recomputed
activations) or saves: a matrix product costs 2 a weight and token forward, and twice that backward (Kaplan et al.,
arXiv 2001.08361, Table 1); attention costs 4 a pair of tokens, head and dimension forward (scores, then values),
and pairs are counted within each document, back from each token, within the layer's window. The output layer is
counted for the trained tokens only, as only these are computed.

MFU is that over the peak of the device in dense bfloat16 (Chowdhery et al., arXiv 2204.02311, Appendix B).
"""

from __future__ import annotations

import resource
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

PEAK_TFLOPS = {
    "B200": 2250.0,
    "GH200": 989.0,
    "H200": 989.0,
    "H100 NVL": 835.0,
    "H100 PCIe": 756.0,
    "H100": 989.0,
    "A100": 312.0,
    "L40S": 362.0,
    "L4": 121.0,
    "A10G": 70.0,
    "MI300X": 1307.0,
    "RTX 4090": 165.0,
}
"""Dense bfloat16 tensor TFLOP/s by the makers' data sheets; the first name that the device's name contains."""


@dataclass(frozen=True)
class ModelCost:
    """What a token costs in a model.

    Attributes:
        body: weights of the matrix products that every token goes through (of experts, the chosen ones).
        head: weights of the output layer.
        layers: for each decoder layer, how far it looks back in tokens (None: to the beginning) and how many
            numbers its queries have (heads × dimensions).
        backward: cost of the backward pass over that of the forward pass: 2, or 1 where the weights are frozen.
    """

    body: int
    head: int
    layers: tuple[tuple[int | None, int], ...]
    backward: float = 2.0

    def flops(self, lengths: Iterable[int], trained_tokens: int) -> float:
        """Operations of one forward and backward pass over documents of these lengths."""
        lengths_S = np.fromiter(lengths, dtype=np.int64)
        products = 2.0 * self.body * float(lengths_S.sum()) + 2.0 * self.head * trained_tokens
        attention = sum(
            number * 4.0 * width * float(pairs(lengths_S, window).sum())
            for (window, width), number in Counter(self.layers).items()
        )
        # Attention has no weights: its backward pass is twice its forward whether or not the model's are frozen.
        return products * (1 + self.backward) + attention * 3


def pairs(lengths_S: Any, window: int | None) -> Any:
    """Pairs of a token and one it sees, itself included, in each document.

    >>> pairs(np.array([3, 5]), None).tolist(), pairs(np.array([3, 5]), 2).tolist()
    ([6, 15], [5, 9])
    """
    seen = lengths_S if window is None else np.minimum(lengths_S, window)
    return seen * (seen + 1) // 2 + (lengths_S - seen) * seen


def cost_of(model: Any) -> ModelCost:
    """The cost of a token in a transformers causal model, read off its weights and its config."""
    config = model.config.get_text_config()
    head = model.get_output_embeddings().weight
    embedding = model.get_input_embeddings().weight
    experts = getattr(config, "num_experts", None) or getattr(config, "num_local_experts", None) or 1
    share = (getattr(config, "num_experts_per_tok", None) or 1) / experts
    body = 0.0
    for weight in model.parameters():
        if weight.dim() >= 2 and weight is not head and weight is not embedding:
            # transformers keeps a layer's experts in one tensor of three dimensions.
            body += weight.numel() * (share if weight.dim() == 3 and experts > 1 else 1.0)
    width = config.num_attention_heads * (
        getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    )
    kinds: Sequence[str] = getattr(config, "layer_types", None) or ["full_attention"] * config.num_hidden_layers
    window = getattr(config, "sliding_window", None)
    layers = tuple((window if kind == "sliding_attention" else None, width) for kind in kinds)
    frozen = not head.requires_grad and not embedding.requires_grad
    return ModelCost(round(body), head.numel(), layers, backward=1.0 if frozen else 2.0)


def peak_tflops(device: torch.device) -> float | None:
    """TFLOP/s of a device in dense bfloat16, None for one that is not in the table."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for known, peak in PEAK_TFLOPS.items() if known in name), None)


def peak_memory_mib(device: torch.device) -> float:
    """The most memory that tensors took on a GPU, or that this process took on a CPU, so far."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


@dataclass(frozen=True)
class Throughput:
    """Speed of the steps of a run.

    Attributes:
        cost: of a token.
        device: of this process.
        processes: that share a step's work.
    """

    cost: ModelCost
    device: torch.device
    processes: int = 1

    def figures(self, lengths: Sequence[int], trained_tokens: int, *, seconds: float) -> dict[str, float]:
        """A step's tokens/s of all processes, TFLOP/s and MFU of one device, and peak memory of this one.

        Args:
            lengths: of all documents of the step.
            trained_tokens: that carry loss.
            seconds: the step took. MFU is given for devices whose peak is known.
        """
        tflops = self.cost.flops(lengths, trained_tokens) / seconds / self.processes / 1e12
        peak = peak_tflops(self.device)
        return {
            "tokens_per_s": sum(map(int, lengths)) / seconds,
            "tflops_per_s": tflops,
            **({"mfu": tflops / peak} if peak is not None else {}),
            "peak_memory_mib": peak_memory_mib(self.device),
        }
