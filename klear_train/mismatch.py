"""Weights for rollouts that another program wrote: the sampler's probabilities are not quite the trainer's.

Shapes: B responses, T tokens of the longest. An inference engine rounds differently from the trainer, may run
on lower precision or on weights that are a step old, so a response comes from μ while the losses take it for
one of π_old. The importance weight ω = π_old/μ of a token or a response mends that in expectation; bounded, it
stays usable. The functions here compute weights from log-probabilities and nothing else; the losses multiply
advantages by them (``weights_BT``).

- *Truncated*: min(ω, cap). Biased, never silent (TIS; Yao et al. 2025, "Your Efficient RL Framework Secretly
  Brings You Off-Policy RL Training").
- *Masked*: ω within [low, high] and 0 outside, so that what the two programs disagree about trains nothing
  (by token IcePop, of Ring-1T, arXiv 2510.18855; by response Liu et al. 2025, "When Speed Kills Stability").
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from klear_train.losses import MAX_LOG_RATIO, Metrics

Level = Literal["token", "sequence", "geometric"]
"""What a weight belongs to: a token; a response (the product of its tokens' ratios, unbiased, but it leaves
[0, cap] with length); or a response by the geometric mean of its tokens' ratios."""


_FAR = 1e4


def truncated_importance_weights(
    trainer_logprobs_BT: Tensor,
    sampler_logprobs_BT: Tensor,
    mask_BT: Tensor,
    *,
    cap: float = 2.0,
    level: Level = "token",
) -> Tensor:
    """min(π_old/μ, cap) of each response token, without gradient; 0 where masked out.

    Args:
        trainer_logprobs_BT: log π_old, of the trainer before its first update on these responses.
        sampler_logprobs_BT: log μ, as the engine that wrote them reports it.
        mask_BT: true where a response token stands; elsewhere the others may hold anything.
        cap: largest weight, at least 1.
        level: what is weighed; all tokens of a response share its weight unless that is ``token``.

    Raises:
        ValueError: a cap below 1 would shrink every weight.
    """
    if cap < 1:
        raise ValueError(f"cap: got {cap}; expected at least 1, the weight of a token that both agree about")
    log_weight_BT = _log_weights(trainer_logprobs_BT, sampler_logprobs_BT, mask_BT, level)
    return torch.where(mask_BT.bool(), log_weight_BT.clamp(max=MAX_LOG_RATIO).exp().clamp(max=cap), 0.0)


def masked_importance_weights(
    trainer_logprobs_BT: Tensor,
    sampler_logprobs_BT: Tensor,
    mask_BT: Tensor,
    *,
    low: float = 0.5,
    high: float = 5.0,
    level: Level = "token",
) -> Tensor:
    """π_old/μ of each response token where that lies within [low, high] and 0 elsewhere, without gradient.

    Arguments as in :func:`truncated_importance_weights`; the default bounds are IcePop's, for tokens.

    Raises:
        ValueError: the bounds leave out 1.
    """
    if not 0 <= low <= 1 <= high:
        raise ValueError(f"bounds: got [{low}, {high}]; expected 0 <= low <= 1 <= high")
    log_weight_BT = _log_weights(trainer_logprobs_BT, sampler_logprobs_BT, mask_BT, level)
    floor = math.log(low) if low else -math.inf
    kept_BT = mask_BT.bool() & (log_weight_BT >= floor) & (log_weight_BT <= math.log(high))
    return torch.where(kept_BT, log_weight_BT.clamp(max=MAX_LOG_RATIO).exp(), 0.0)


def mismatch_metrics(trainer_logprobs_BT: Tensor, sampler_logprobs_BT: Tensor, mask_BT: Tensor) -> Metrics:
    """How far sampler and trainer are apart, on tokens: what to log after every push of weights.

    ``mismatch_mean`` and ``mismatch_max`` are of |log π_old − log μ| (at most 20 a token), ``mismatch_kl`` is
    KL(μ‖π_old) by the estimate ω − 1 − log ω.
    """
    mask_BT = mask_BT.bool()
    gap_BT = _log_weights(trainer_logprobs_BT, sampler_logprobs_BT, mask_BT, "token")
    gap_BT = gap_BT.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
    count = mask_BT.sum().clamp(min=1)
    largest = gap_BT.abs().max() if gap_BT.numel() else gap_BT.new_zeros(())
    figures = torch.stack([gap_BT.abs().sum() / count, largest, (gap_BT.exp() - 1 - gap_BT).sum() / count])
    return dict(zip(("mismatch_mean", "mismatch_max", "mismatch_kl"), figures.tolist(), strict=True))


def _log_weights(trainer_BT: Tensor, sampler_BT: Tensor, mask_BT: Tensor, level: Level) -> Tensor:
    """log ω of each token at the given level, in float32 or finer; 0 where masked out."""
    if not trainer_BT.shape == sampler_BT.shape == mask_BT.shape:
        shapes = [list(tensor.shape) for tensor in (trainer_BT, sampler_BT, mask_BT)]
        raise ValueError(f"shapes: trainer's, sampler's and mask are {shapes}; expected equal ones")
    mask_BT = mask_BT.bool()
    dtype = torch.promote_types(trainer_BT.dtype, torch.float32)
    trainer_BT = torch.where(mask_BT, trainer_BT.detach().to(dtype), 0.0)
    sampler_BT = torch.where(mask_BT, sampler_BT.detach().to(dtype), 0.0)
    # Both −inf: impossible for either, so they agree. One: far apart, but with a sum.
    gap_BT = torch.where(trainer_BT == sampler_BT, 0.0, trainer_BT - sampler_BT).clamp(-_FAR, _FAR)
    if level == "token":
        return gap_BT
    total_B1 = gap_BT.sum(-1, keepdim=True)
    if level == "geometric":
        total_B1 = total_B1 / mask_BT.sum(-1, keepdim=True).clamp(min=1)
    return torch.where(mask_BT, total_B1, 0.0)
