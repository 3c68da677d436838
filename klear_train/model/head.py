"""Log-probabilities of given tokens without ever holding the logits of all of them.

The output layer of a model with 150,000 words makes 600 kB of logits a token: at 32K tokens, 20 GB, and as much
again for their gradient. Here the head is applied to a few hundred tokens at a time. Two forms, as the gradient of
a sum is known at once and that of single values is not:

- :func:`nll_sum` (SFT) computes the gradient in the forward pass, while a chunk's logits are at hand.
- :func:`token_logprobs` (RL) computes a chunk's logits again in the backward pass.

Shapes: N trained tokens, D the model's width, V its vocabulary; C tokens of a chunk.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

CHUNK_BYTES = {"cpu": 1 << 27, "cuda": 1 << 30}
"""Logits (in float32) held at once, by device: enough rows for a matrix product at full speed, no more."""


def nll_sum(hidden_ND: Tensor, weight_VD: Tensor, bias_V: Tensor | None, targets_N: Tensor, *, scale: float) -> Tensor:
    """−scale · Σ log π(target), a scalar in float32.

    Args:
        hidden_ND: the states that predict the targets.
        weight_VD, bias_V: of the output layer.
        targets_N: token ids.
        scale: what each token counts; the gradient is computed with it at once.
    """
    loss: Tensor = _NLLSum.apply(hidden_ND, weight_VD, bias_V, targets_N, scale, torch.is_grad_enabled())
    return loss


def token_logprobs(
    hidden_ND: Tensor,
    weight_VD: Tensor,
    bias_V: Tensor | None,
    targets_N: Tensor,
    *,
    temperature: float = 1.0,
    with_entropy: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """log π of the targets, (N,), and on request the entropy at each, (N,), without gradient; in float32."""
    logprobs_N, entropy_N = _TokenLogprobs.apply(hidden_ND, weight_VD, bias_V, targets_N, temperature, with_entropy)
    return logprobs_N, entropy_N if with_entropy else None


def _chunks(hidden_ND: Tensor, vocabulary: int) -> Iterator[slice]:
    """Slices of N whose logits fit CHUNK_BYTES."""
    rows = max(1, CHUNK_BYTES.get(hidden_ND.device.type, 1 << 30) // (4 * vocabulary))
    return (slice(start, start + rows) for start in range(0, hidden_ND.shape[0], rows))


def _logits(hidden_CD: Tensor, weight_VD: Tensor, bias_V: Tensor | None) -> Tensor:
    """In float32, whatever the product was computed in; a tensor of its own, to be overwritten."""
    return F.linear(hidden_CD, weight_VD, bias_V).float()


def _softmax_(logits_CV: Tensor) -> Tensor:
    """Overwrite logits by probabilities; (C,) log of the normaliser."""
    largest_C1 = logits_CV.amax(-1, keepdim=True)
    sum_C1 = logits_CV.sub_(largest_C1).exp_().sum(-1, keepdim=True)
    logits_CV.div_(sum_C1)
    return (sum_C1.log() + largest_C1).squeeze(-1)


class _HeadGradient:
    """Gradients of the head's inputs, gathered chunk by chunk; the weight's in float32, as it is a sum."""

    def __init__(self, needs: tuple[bool, ...], hidden_ND: Tensor, weight_VD: Tensor, bias_V: Tensor | None) -> None:
        self.source = (hidden_ND, weight_VD)
        self.hidden_ND = torch.empty_like(hidden_ND) if needs[0] else None
        self.weight_VD = torch.zeros_like(weight_VD, dtype=torch.float32) if needs[1] else None
        self.bias_V = torch.zeros_like(bias_V, dtype=torch.float32) if bias_V is not None and needs[2] else None

    def add(self, chunk: slice, grad_CV: Tensor) -> None:
        hidden_ND, weight_VD = self.source
        if self.bias_V is not None:
            self.bias_V += grad_CV.sum(0)
        grad_CV = grad_CV.to(weight_VD.dtype)
        if self.hidden_ND is not None:
            torch.mm(grad_CV, weight_VD, out=self.hidden_ND[chunk])
        if self.weight_VD is not None and weight_VD.dtype == torch.float32:
            self.weight_VD.addmm_(grad_CV.T, hidden_ND[chunk])
        elif self.weight_VD is not None:
            self.weight_VD += grad_CV.T @ hidden_ND[chunk]

    def result(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        dtype = self.source[1].dtype
        weight_VD = None if self.weight_VD is None else self.weight_VD.to(dtype)
        return self.hidden_ND, weight_VD, None if self.bias_V is None else self.bias_V.to(dtype)


class _NLLSum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden_ND: Tensor, weight_VD: Tensor, bias_V: Tensor | None, targets_N: Tensor, scale: float,
        with_gradient: bool,
    ) -> Tensor:  # fmt: skip
        needs = ctx.needs_input_grad if with_gradient else (False, False, False)
        gradient = _HeadGradient(needs, hidden_ND, weight_VD, bias_V)
        loss = torch.zeros((), dtype=torch.float32, device=hidden_ND.device)
        for chunk in _chunks(hidden_ND, weight_VD.shape[0]):
            logits_CV = _logits(hidden_ND[chunk], weight_VD, bias_V)
            targets_C1 = targets_N[chunk, None]
            chosen_C = logits_CV.gather(-1, targets_C1).squeeze(-1)
            if not any(needs):
                loss += (logits_CV.logsumexp(-1) - chosen_C).sum()
                continue
            loss += (_softmax_(logits_CV) - chosen_C).sum()
            # d(−log π)/d logits = softmax − one-hot
            logits_CV.scatter_add_(-1, targets_C1, torch.full_like(targets_C1, -1, dtype=torch.float32))
            gradient.add(chunk, logits_CV.mul_(scale))
        ctx.gradient = gradient.result()
        return loss * scale

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        scaled = [None if tensor is None else tensor.mul_(grad) for tensor in ctx.gradient]
        ctx.gradient = None  # overwritten, and no longer needed
        return *scaled, None, None, None


class _TokenLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden_ND: Tensor, weight_VD: Tensor, bias_V: Tensor | None, targets_N: Tensor, temperature: float,
        with_entropy: bool,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        logprobs_N = torch.empty(hidden_ND.shape[0], dtype=torch.float32, device=hidden_ND.device)
        entropy_N = torch.empty_like(logprobs_N)
        for chunk in _chunks(hidden_ND, weight_VD.shape[0]):
            logits_CV = _logits(hidden_ND[chunk], weight_VD, bias_V).div_(temperature)
            if with_entropy:
                logprobs_CV = logits_CV.log_softmax(-1)
                logprobs_N[chunk] = logprobs_CV.gather(-1, targets_N[chunk, None]).squeeze(-1)
                entropy_N[chunk] = -torch.linalg.vecdot(logprobs_CV.exp(), logprobs_CV)
            else:
                chosen_C = logits_CV.gather(-1, targets_N[chunk, None]).squeeze(-1)
                logprobs_N[chunk] = chosen_C - logits_CV.logsumexp(-1)
        ctx.save_for_backward(hidden_ND, weight_VD, bias_V, targets_N)
        ctx.temperature = temperature
        ctx.mark_non_differentiable(entropy_N)
        return logprobs_N, entropy_N

    @staticmethod
    def backward(ctx: Any, grad_N: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        hidden_ND, weight_VD, bias_V, targets_N = ctx.saved_tensors
        gradient = _HeadGradient(ctx.needs_input_grad, hidden_ND, weight_VD, bias_V)
        for chunk in _chunks(hidden_ND, weight_VD.shape[0]):
            logits_CV = _logits(hidden_ND[chunk], weight_VD, bias_V).div_(ctx.temperature)
            _softmax_(logits_CV)
            # d log π/d logits = one-hot − softmax, by the temperature
            grad_C1 = grad_N[chunk, None] / ctx.temperature
            logits_CV.mul_(-grad_C1).scatter_add_(-1, targets_N[chunk, None], grad_C1)
            gradient.add(chunk, logits_CV)
        return *gradient.result(), None, None, None
