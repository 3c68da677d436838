"""Policy-gradient losses on importance ratios: GPPO and its relatives, exact and finite.

Shapes: B responses, T tokens of the longest. ``δ = π_θ/π_old`` of a token, ``Ã`` its advantage.

Every token-level loss here has the gradient ``−F·Ã·∇log π_θ`` with a factor F that depends on where δ lies
(Klear-Reasoner Eq. 12, 16, 18). So one form serves all of them: F is decided on the log-ratio and detached,
and the token's loss is ``−F·Ã·(1 + log π_θ − sg(log π_θ))``. Its value is that of the published loss and its
gradient exactly F's. Nothing is exponentiated that a bound does not hold, so log-ratios of ±2000 or −inf
stay finite, where the clamp form gives NaN in float32 from about ±90 on.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

Metrics = dict[str, float]

MAX_LOG_RATIO = 20.0
"""Where F would be δ itself (Ã < 0 above the range) the exponent stops here, at a ratio of 4.9e8: a number
that no run survives anyway, and one that float32 squares without overflow. ``ratio_cap`` bounds it lower."""


def gppo_loss(
    logprobs_BT: Tensor,
    old_logprobs_BT: Tensor,
    advantages_B: Tensor,
    mask_BT: Tensor,
    *,
    clip_low: float = 0.2,
    clip_high: float = 0.28,
    beta_low: float = 1.0,
    beta_high: float = 1.0,
    ratio_cap: float | None = None,
    num_tokens: float | None = None,
) -> tuple[Tensor, Metrics]:
    """GPPO: clipped tokens keep a bounded gradient (Klear-Reasoner Eq. 11, 12; β of Eq. 17, 18).

    F = β_low·(1−ε_low) where δ < 1−ε_low and Ã < 0; β_high·(1+ε_high) where δ > 1+ε_high and Ã > 0; δ else.
    β = 1 is GPPO, β = 0 is Clip-Higher's gradient, values between are CE-GPPO (arXiv 2509.20712).
    The loss's value is that of Clip-Higher whatever β (the published form only moves gradients).

    Args:
        logprobs_BT: log π_θ of each response token, with gradient.
        old_logprobs_BT: the same under the policy that wrote the response.
        advantages_B: Ã of each response.
        mask_BT: true where a response token stands; elsewhere the other tensors may hold anything.
        clip_low, clip_high: ε_low in [0, 1), ε_high ≥ 0.
        beta_low, beta_high: weight of the gradient below and above the range.
        ratio_cap: upper bound of F for Ã < 0; the authors' released code zeroes the gradient above 10,
            the paper has no bound (default).
        num_tokens: what the sum is divided by; ΣT_j of the global minibatch when the batch is one of several
            micro-batches, the number of masked-in tokens by default (Eq. 7).

    Returns:
        The scalar loss and metrics over the masked-in tokens.
    """
    state = _Ratios(logprobs_BT, old_logprobs_BT, advantages_B, mask_BT, clip_low, clip_high)
    factor_BT = state.bounded_ratio(ratio_cap)
    factor_BT = torch.where(state.clipped_low_BT, 1 - clip_low, factor_BT)
    factor_BT = torch.where(state.clipped_high_BT, 1 + clip_high, factor_BT)
    weight_BT = torch.ones_like(factor_BT)
    weight_BT = torch.where(state.clipped_low_BT, beta_low, weight_BT)
    weight_BT = torch.where(state.clipped_high_BT, beta_high, weight_BT)
    return state.loss(factor_BT, weight_BT, num_tokens), state.metrics(factor_BT * weight_BT)


def clip_higher_loss(
    logprobs_BT: Tensor,
    old_logprobs_BT: Tensor,
    advantages_B: Tensor,
    mask_BT: Tensor,
    *,
    clip_low: float = 0.2,
    clip_high: float = 0.28,
    ratio_cap: float | None = None,
    num_tokens: float | None = None,
) -> tuple[Tensor, Metrics]:
    """PPO's clipped objective with two ranges, token mean (Klear-Reasoner Eq. 7, after DAPO).

    GPPO with β = 0: a clipped token keeps its value and has no gradient. Arguments as in :func:`gppo_loss`.
    """
    return gppo_loss(
        logprobs_BT,
        old_logprobs_BT,
        advantages_B,
        mask_BT,
        clip_low=clip_low,
        clip_high=clip_high,
        beta_low=0.0,
        beta_high=0.0,
        ratio_cap=ratio_cap,
        num_tokens=num_tokens,
    )


def cispo_loss(
    logprobs_BT: Tensor,
    old_logprobs_BT: Tensor,
    advantages_B: Tensor,
    mask_BT: Tensor,
    *,
    clip_low: float = 0.2,
    clip_high: float = 0.28,
    num_tokens: float | None = None,
) -> tuple[Tensor, Metrics]:
    """CISPO: the ratio is clipped on both sides whatever the sign of Ã (Klear-Reasoner Eq. 15, 16).

    F = clip(δ, 1−ε_low, 1+ε_high). The value is −F·Ã where the paper prints −F·Ã·log π: both have the
    same gradient, and this one reads like the other losses. Arguments as in :func:`gppo_loss`.
    """
    state = _Ratios(logprobs_BT, old_logprobs_BT, advantages_B, mask_BT, clip_low, clip_high)
    factor_BT = state.bounded_ratio(None).clamp(1 - clip_low, 1 + clip_high)
    return state.loss(factor_BT, torch.ones_like(factor_BT), num_tokens), state.metrics(factor_BT)


def gspo_loss(
    logprobs_BT: Tensor,
    old_logprobs_BT: Tensor,
    advantages_B: Tensor,
    mask_BT: Tensor,
    *,
    clip_low: float = 3e-4,
    clip_high: float = 4e-4,
    num_responses: float | None = None,
) -> tuple[Tensor, Metrics]:
    """GSPO: one ratio a response, the geometric mean of its tokens' (arXiv 2507.18071, Eq. 5, 6).

    s = exp(mean_t log δ_t), clipped as PPO clips; the loss is a mean over responses, so that each has the
    same weight whatever its length. Arguments as in :func:`gppo_loss`; ``num_responses`` is what the sum is
    divided by (all responses of the global minibatch), the batch's own number by default.
    """
    mask_BT = mask_BT.bool()
    lengths_B = mask_BT.sum(-1).clamp(min=1)
    present_B1 = mask_BT.any(-1, keepdim=True)

    def mean_B1(values_BT: Tensor) -> Tensor:
        return (torch.where(mask_BT, values_BT, 0.0).sum(-1) / lengths_B).unsqueeze(-1)

    state = _Ratios(mean_B1(logprobs_BT), mean_B1(old_logprobs_BT), advantages_B, present_B1, clip_low, clip_high)
    factor_B1 = state.bounded_ratio(None)
    factor_B1 = torch.where(state.clipped_low_BT, 1 - clip_low, factor_B1)
    factor_B1 = torch.where(state.clipped_high_BT, 1 + clip_high, factor_B1)
    weight_B1 = (~(state.clipped_low_BT | state.clipped_high_BT)).to(factor_B1.dtype)
    return state.loss(factor_B1, weight_B1, num_responses), state.metrics(factor_B1 * weight_B1)


def positive_nll_loss(
    logprobs_BT: Tensor, correct_B: Tensor, mask_BT: Tensor, *, num_tokens: float | None = None
) -> tuple[Tensor, Metrics]:
    """Token-level negative log-likelihood of the correct responses (Klear-Reasoner Eq. 13, 14).

    The paper prints −π; the released code and this use −log π.

    Args:
        logprobs_BT: log π_θ of each response token, with gradient.
        correct_B: true for the responses the verifier accepted.
        mask_BT: true where a response token stands.
        num_tokens: what the sum is divided by; the tokens of the correct responses of the global minibatch
            when this is one of several micro-batches, those of this batch by default.
    """
    chosen_BT = mask_BT.bool() & correct_B.bool().unsqueeze(-1)
    total = torch.where(chosen_BT, -logprobs_BT, 0.0).sum()
    count = float(chosen_BT.sum())
    loss = total / max(count if num_tokens is None else num_tokens, 1.0)
    return loss, {"positive_nll": float(total.detach()) / count if count else 0.0, "positive_tokens": count}


class _Ratios:
    """Log-ratios of a batch and where they lie, without gradient; masked-out entries count as ratio 1."""

    def __init__(
        self,
        logprobs_BT: Tensor,
        old_logprobs_BT: Tensor,
        advantages_B: Tensor,
        mask_BT: Tensor,
        clip_low: float,
        clip_high: float,
    ) -> None:
        if not 0 <= clip_low < 1 or clip_high < 0:
            raise ValueError(f"clip range: got [1 - {clip_low}, 1 + {clip_high}]; expected 0 <= low < 1 and high >= 0")
        self.mask_BT = mask_BT.bool()
        # where() and not multiplication: 0 · NaN is NaN.
        self.logprobs_BT = torch.where(self.mask_BT, logprobs_BT, 0.0)
        current_BT = self.logprobs_BT.detach()
        old_BT = torch.where(self.mask_BT, old_logprobs_BT.detach(), 0.0)
        # Both −inf: the token is impossible before and after, and its ratio is 1.
        self.log_ratio_BT = torch.where(current_BT == old_BT, 0.0, current_BT - old_BT)
        self.advantages_BT = torch.where(self.mask_BT, advantages_B.detach().unsqueeze(-1), 0.0)
        self.low, self.high = math.log1p(-clip_low), math.log1p(clip_high)
        self.below_BT = self.log_ratio_BT < self.low
        self.above_BT = self.log_ratio_BT > self.high
        self.clipped_low_BT = self.below_BT & (self.advantages_BT < 0)
        self.clipped_high_BT = self.above_BT & (self.advantages_BT > 0)

    def bounded_ratio(self, ratio_cap: float | None) -> Tensor:
        """δ, held at ``ratio_cap`` (or at e^20) where it is larger."""
        limit = MAX_LOG_RATIO if ratio_cap is None else min(MAX_LOG_RATIO, math.log(ratio_cap))
        capped_BT = self.log_ratio_BT.clamp(max=MAX_LOG_RATIO).exp()
        negative_BT = self.log_ratio_BT.clamp(max=limit).exp()
        return torch.where(self.advantages_BT < 0, negative_BT, capped_BT)

    def loss(self, factor_BT: Tensor, weight_BT: Tensor, num_tokens: float | None) -> Tensor:
        """−Σ F·Ã·(1 + w·(log π − sg log π)) over the number of tokens: value −F·Ã, gradient −w·F·Ã·∇log π."""
        # A token of probability 0 has an infinite log-probability: it is constant, so it gets no gradient.
        current_BT = self.logprobs_BT
        finite_BT = torch.isfinite(current_BT)
        moving_BT = torch.where(finite_BT, current_BT, 0.0)
        unit_BT = 1 + weight_BT * (moving_BT - moving_BT.detach())
        total = -torch.where(self.mask_BT, factor_BT * self.advantages_BT * unit_BT, 0.0).sum()
        count = float(self.mask_BT.sum()) if num_tokens is None else float(num_tokens)
        return total / max(count, 1.0)

    def metrics(self, gradient_factor_BT: Tensor) -> Metrics:
        """Clip fractions, ratios, KL(old‖new), and how much of the gradient comes from outside the range.

        ``kl`` is the non-negative estimate δ − 1 − log δ on tokens drawn from the old policy, log-ratios
        bounded at ±20. ``outside_gradient_share`` is Σ|F·Ã| outside the range over the same of all tokens.
        """
        mask_BT, count = self.mask_BT, max(int(self.mask_BT.sum()), 1)

        def share(chosen_BT: Tensor) -> float:
            return float((chosen_BT & mask_BT).sum()) / count

        log_ratio_BT = self.log_ratio_BT.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
        ratio_BT = log_ratio_BT.exp()
        force_BT = (gradient_factor_BT * self.advantages_BT).abs().double()
        outside = float((force_BT * (self.below_BT | self.above_BT)).sum())
        return {
            "clip_low_negative": share(self.clipped_low_BT),
            "clip_high_positive": share(self.clipped_high_BT),
            "below_positive": share(self.below_BT & (self.advantages_BT > 0)),
            "above_negative": share(self.above_BT & (self.advantages_BT < 0)),
            "ratio_mean": float(torch.where(mask_BT, ratio_BT, 0.0).sum()) / count,
            "ratio_max": float(torch.where(mask_BT, ratio_BT, 0.0).max()) if mask_BT.numel() else 0.0,
            "kl": float(torch.where(mask_BT, ratio_BT - 1 - log_ratio_BT, 0.0).sum()) / count,
            "outside_gradient_share": outside / max(float(force_BT.sum()), 1e-30),
        }
