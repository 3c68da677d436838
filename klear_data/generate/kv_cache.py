"""Keys and values of a batch in buffers with room to spare.

transformers' dynamic cache copies everything at each token (``torch.cat``), its static one attends over the
whole buffer. This one writes in place, hands attention exactly the part in use, and grows by doubling.
"""

from __future__ import annotations

from functools import cache
from typing import Any


def make_cache(config: Any, *, spare: int) -> Any:
    """A cache for ``model(past_key_values=…)`` whose rows can be selected and repeated.

    Args:
        config: the model's; layers that are not full attention get transformers' own cache.
        spare: positions to keep free beyond the prompt before the first growth.
    """
    from transformers import DynamicCache

    text = config.get_text_config()
    kinds = getattr(text, "layer_types", None) or ["full_attention"] * text.num_hidden_layers
    if set(kinds) != {"full_attention"}:
        return DynamicCache(config=config)
    buffer_cache, buffer_layer = _buffer_classes()
    return buffer_cache(layers=[buffer_layer(spare) for _ in kinds])


@cache
def _buffer_classes() -> tuple[Any, Any]:
    """The cache and its layers, defined on first use: their bases come from transformers, a late import."""
    import torch
    from transformers import cache_utils

    base_cache: Any = cache_utils.Cache
    base_layer: Any = cache_utils.DynamicLayer

    class BufferCache(base_cache):  # type: ignore[misc]
        def batch_select_indices(self, indices: Any) -> None:
            for layer in self.layers:
                layer.batch_select_indices(indices)

    class BufferLayer(base_layer):  # type: ignore[misc]
        """``keys`` and ``values`` (R, heads, capacity, head width), of which ``length`` positions are used."""

        def __init__(self, spare: int) -> None:
            super().__init__()
            self.is_initialized = False
            self.spare = spare
            self.length = 0

        def update(self, key_states: Any, value_states: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
            start, self.length = self.length, self.length + key_states.shape[-2]
            if not self.is_initialized:
                self.dtype, self.device = key_states.dtype, key_states.device
                self.keys, self.values = self._grown(None, key_states), self._grown(None, value_states)
                self.is_initialized = True
            elif self.length > self.keys.shape[-2]:
                self.spare = max(self.spare, start)
                self.keys, self.values = self._grown(self.keys, key_states), self._grown(self.values, value_states)
            self.keys[:, :, start : self.length] = key_states
            self.values[:, :, start : self.length] = value_states
            return self.keys[:, :, : self.length], self.values[:, :, : self.length]

        def _grown(self, old: Any, new: Any) -> Any:
            rows, heads, _, width = new.shape
            buffer = torch.empty(rows, heads, self.length + self.spare, width, dtype=new.dtype, device=new.device)
            if old is not None:
                buffer[:, :, : old.shape[-2]] = old
            return buffer

        def get_seq_length(self) -> int:
            return self.length

        def batch_select_indices(self, indices: Any) -> None:
            self.keys, self.values = self.keys[indices], self.values[indices]

    return BufferCache, BufferLayer
