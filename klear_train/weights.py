"""The policy's weights, whole, one after the other: what a sampler is given after a step."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from klear_train.model import Policy


def whole_weights(policy: Policy, *, dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
    """Names as in a model folder, and whole tensors; every rank has to read them all, in step with the others.

    Tied weights come under each of their names: a sampler that is given an embedding and no ``lm_head`` keeps the
    old one without a word. No more than one tensor is whole at a time.
    """
    for name, weight in policy.model.named_parameters(remove_duplicate=False):
        tensor = weight.detach()
        full = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
        yield name, full.to(dtype)
