"""Attention over sequences laid end to end, each of which sees only itself.

transformers' models call the function registered here with whatever keywords the decoder was called with; the
``documents`` among them say where the sequences lie. Without ``documents`` (sampling, with padding and a cache)
it is transformers' own SDPA. No mask of T×T numbers exists, so the cost is that of ΣL², not of T².

Shapes: T tokens of all sequences, H heads (of keys and values: K, which divides H), D dimensions a head.
"""

from __future__ import annotations

import inspect
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from klear_data.errors import UsageError, require
from klear_train.packing import Documents

NAME = "klear"
"""Under which transformers knows this attention."""

CHANGES = ("softcap", "s_aux", "position_bias")
"""Keywords by which a model asks for scores that none of the kernels here computes."""


def install(model: Any, kind: str) -> None:
    """Make a transformers model use this attention; ``kind`` is ``model.attention`` of the settings.

    Raises:
        UsageError: the model has an attention of its own, or the kind is not available here.
    """
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    if not getattr(model, "_supports_attention_backend", False):
        raise UsageError(
            f"model {type(model).__name__}: it computes attention in a way of its own, so packed sequences would see "
            "each other; expected one of transformers' models with exchangeable attention; train another model"
        )
    if kind not in ("auto", "sdpa") and not torch.cuda.is_available():
        raise UsageError(
            f"model.attention = {kind!r}: it trains on GPUs only, and there is none here; expected auto or sdpa; "
            "leave it out"
        )
    if kind == "flash":
        require("flash_attn", extra="train", needed_by="model.attention = 'flash'")
    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    model.set_attn_implementation(NAME)
    model.klear_kernel = kind


def attend(
    module: Any,
    query_1HTD: Tensor,
    key_1KTD: Tensor,
    value_1KTD: Tensor,
    attention_mask: Tensor | None,
    *,
    documents: Documents | None = None,
    kernel: str = "auto",
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Causal attention within each document: (1, T, H, D), as transformers' interface wants it.

    Raises:
        UsageError: the model asks for scores that the kernels do not compute.
    """
    if documents is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        others |= {"dropout": dropout, "scaling": scaling, "sliding_window": sliding_window}
        return sdpa_attention_forward(module, query_1HTD, key_1KTD, value_1KTD, attention_mask, **others)
    asked = [name for name in CHANGES if others.get(name) is not None]
    if asked:
        raise UsageError(
            f"model.path: the model's attention uses {', '.join(asked)}; expected plain softmax attention; train "
            "another model"
        )
    window = sliding_window if sliding_window is not None and sliding_window < documents.longest else None
    if kernel == "auto":
        fits_flash = query_1HTD.is_cuda and query_1HTD.dtype != torch.float32 and query_1HTD.shape[-1] <= 256
        kernel = "varlen" if fits_flash and not dropout else "sdpa"
    if dropout and kernel != "sdpa":
        raise UsageError(
            f"model.attention = {kernel!r}: it has no dropout, and the model's config sets attention_dropout = "
            f"{dropout}; expected sdpa; set model.attention=sdpa, or the dropout to 0 in the model's config.json"
        )
    if kernel == "sdpa":
        out_1HTD = per_document(query_1HTD, key_1KTD, value_1KTD, documents, dropout, scaling, window)
        return out_1HTD.transpose(1, 2), None
    if kernel == "flex":
        return flex(query_1HTD, key_1KTD, value_1KTD, documents, scaling, window).transpose(1, 2), None
    flat = [tensor[0].transpose(0, 1) for tensor in (query_1HTD, key_1KTD, value_1KTD)]
    compute = varlen if kernel == "varlen" else flash
    return compute(*flat, documents, scaling, window)[None], None


def per_document(
    query_1HTD: Tensor,
    key_1KTD: Tensor,
    value_1KTD: Tensor,
    documents: Documents,
    dropout: float = 0.0,
    scaling: float | None = None,
    window: int | None = None,
) -> Tensor:
    """torch's SDPA, one call a document: on a CPU ten times faster than one call with a mask."""
    parts = []
    lengths = list(documents.lengths)
    grouped = query_1HTD.shape[1] != key_1KTD.shape[1]
    for query, key, value in zip(*(x.split(lengths, dim=2) for x in (query_1HTD, key_1KTD, value_1KTD)), strict=True):
        length = query.shape[2]
        mask = _band(length, window, query.device) if window is not None and window < length else None
        parts.append(
            F.scaled_dot_product_attention(
                query, key, value, attn_mask=mask, is_causal=mask is None, dropout_p=dropout, scale=scaling,
                enable_gqa=grouped,
            )
        )  # fmt: skip
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)


def _band(length: int, window: int, device: torch.device) -> Tensor:
    """True where a token may look: at itself and the ``window`` − 1 before it."""
    back = torch.arange(length, device=device)[:, None] - torch.arange(length, device=device)
    return (back >= 0) & (back < window)


def varlen(
    query_THD: Tensor, key_TKD: Tensor, value_TKD: Tensor, documents: Documents, scaling: float | None,
    window: int | None,
) -> Tensor:  # fmt: skip
    """torch's own FlashAttention for sequences of different lengths, in whichever form this torch has it."""
    from torch.nn.attention.varlen import varlen_attn

    takes = inspect.signature(varlen_attn).parameters
    options: dict[str, Any] = {}
    if "window_size" in takes:
        options["window_size"] = (-1 if window is None else window - 1, 0)
    elif window is None:
        options["is_causal"] = True
    else:
        raise UsageError(
            f"model.attention: torch {torch.__version__} has no window in its varlen attention; expected one for a "
            "model with sliding windows; set model.attention=flex"
        )
    if "scale" in takes:
        options["scale"] = scaling
    elif scaling is not None:
        query_THD = query_THD * (scaling * query_THD.shape[-1] ** 0.5)
    heads, kv_heads = query_THD.shape[1], key_TKD.shape[1]
    if heads != kv_heads and "enable_gqa" in takes:
        options["enable_gqa"] = True
    elif heads != kv_heads:
        key_TKD, value_TKD = (x.repeat_interleave(heads // kv_heads, dim=1) for x in (key_TKD, value_TKD))
    offsets, longest = documents.offsets, documents.longest
    return varlen_attn(query_THD, key_TKD, value_TKD, offsets, offsets, longest, longest, **options)


def flash(
    query_THD: Tensor, key_TKD: Tensor, value_TKD: Tensor, documents: Documents, scaling: float | None,
    window: int | None,
) -> Tensor:  # fmt: skip
    """The flash-attn package's kernel."""
    from flash_attn import flash_attn_varlen_func

    offsets, longest = documents.offsets, documents.longest
    return flash_attn_varlen_func(
        query_THD, key_TKD, value_TKD, offsets, offsets, longest, longest, softmax_scale=scaling, causal=True,
        window_size=(-1 if window is None else window - 1, 0),
    )  # fmt: skip


def flex(
    query_1HTD: Tensor, key_1KTD: Tensor, value_1KTD: Tensor, documents: Documents, scaling: float | None,
    window: int | None,
) -> Tensor:  # fmt: skip
    """FlexAttention with a block mask of the documents; compiled on an accelerator."""
    compute = _flex_kernel(compiled=query_1HTD.is_cuda)
    mask = _block_mask(documents, window)
    grouped = query_1HTD.shape[1] != key_1KTD.shape[1]
    return compute(query_1HTD, key_1KTD, value_1KTD, block_mask=mask, scale=scaling, enable_gqa=grouped)


@lru_cache(maxsize=2)
def _flex_kernel(*, compiled: bool) -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=True) if compiled else flex_attention


@lru_cache(maxsize=4)  # the layers of one forward pass, and their recomputation, ask for the same
def _block_mask(documents: Documents, window: int | None) -> Any:
    from torch.nn.attention.flex_attention import create_block_mask

    offsets = documents.offsets.long()
    total = int(sum(documents.lengths))
    document_T = torch.repeat_interleave(
        torch.arange(len(documents.lengths), device=offsets.device), offsets.diff(), output_size=total
    )

    def may_look(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        seen = (document_T[query] == document_T[key]) & (query >= key)
        return seen if window is None else seen & (query - key < window)

    return create_block_mask(may_look, None, None, total, total, device=offsets.device)
