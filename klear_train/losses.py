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
from dataclasses import dataclass
from functools import cached_property

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
    weights_BT: Tensor | None = None,
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
        weights_BT: non-negative factor of each token's advantage, see :mod:`klear_train.mismatch`.
        num_tokens: what the sum is divided by; ΣT_j of the global minibatch when the batch is one of several
            micro-batches, the number of masked-in tokens by default (Eq. 7).

    Returns:
        The scalar loss and metrics over the masked-in tokens (:func:`_metrics` lists them).

    Raises:
        ValueError: shapes that do not fit, or a range or cap that is none.
    """
    if ratio_cap is not None and ratio_cap < 1:
        raise ValueError(f"ratio_cap: got {ratio_cap}; expected at least 1, or None for no cap")
    ratios = _ratios(logprobs_BT, old_logprobs_BT, advantages_B, mask_BT, clip_low, clip_high, weights_BT)
    factor_BT = ratios.clipped_factor(ratio_cap)
    # From a tensor: where() of two plain numbers is float32.
    keep_BT = torch.where(ratios.clipped_low_BT, beta_low, torch.ones_like(factor_BT))
    keep_BT = torch.where(ratios.clipped_high_BT, beta_high, keep_BT)
    return _loss(ratios, factor_BT, keep_BT, num_tokens), _metrics(ratios, factor_BT * keep_BT)


def clip_higher_loss(
    logprobs_BT: Tensor,
    old_logprobs_BT: Tensor,
    advantages_B: Tensor,
    mask_BT: Tensor,
    *,
    clip_low: float = 0.2,
    clip_high: float = 0.28,
    ratio_cap: float | None = None,
    weights_BT: Tensor | None = None,
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
        weights_BT=weights_BT,
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
    weights_BT: Tensor | None = None,
    num_tokens: float | None = None,
) -> tuple[Tensor, Metrics]:
    """CISPO: the ratio is clipped on both sides whatever the sign of Ã (Klear-Reasoner Eq. 15, 16).

    F = clip(δ, 1−ε_low, 1+ε_high). The value is −F·Ã where the paper prints −F·Ã·log π: both have the
    same gradient, and this one reads like the other losses. Arguments as in :func:`gppo_loss`.
    """
    ratios = _ratios(logprobs_BT, old_logprobs_BT, advantages_B, mask_BT, clip_low, clip_high, weights_BT)
    factor_BT = ratios.bounded_ratio(None).clamp(1 - clip_low, 1 + clip_high)
    return _loss(ratios, factor_BT, torch.ones_like(factor_BT), num_tokens), _metrics(ratios, factor_BT)


def gspo_loss(
    logprobs_BT: Tensor,
    old_logprobs_BT: Tensor,
    advantages_B: Tensor,
    mask_BT: Tensor,
    *,
    clip_low: float = 3e-4,
    clip_high: float = 4e-4,
    weights_BT: Tensor | None = None,
    num_responses: float | None = None,
) -> tuple[Tensor, Metrics]:
    """GSPO: one ratio a response, the geometric mean of its tokens' (arXiv 2507.18071, Eq. 5 to 7).

    s = exp(mean_t log δ_t), clipped as PPO clips; the loss is a mean over responses, so that each has the
    same weight whatever its length. Arguments as in :func:`gppo_loss`, but ``num_responses`` is what the sum
    is divided by (all responses of the global minibatch; by default those of this batch that hold a token),
    a response's weight is the mean of its tokens', and the metrics count responses instead of tokens.
    """
    tokens = _ratios(logprobs_BT, old_logprobs_BT, advantages_B, mask_BT, clip_low, clip_high)
    lengths_B1 = tokens.mask_BT.sum(-1, keepdim=True).clamp(min=1)

    def mean_B1(values_BT: Tensor) -> Tensor:
        return torch.where(tokens.mask_BT, values_BT, 0.0).sum(-1, keepdim=True) / lengths_B1

    weights_B1 = 1.0 if weights_BT is None else mean_B1(weights_BT.detach())
    responses = _Ratios(
        moving_BT=mean_B1(tokens.moving_BT),
        log_ratio_BT=mean_B1(tokens.log_ratio_BT),
        advantages_BT=tokens.advantages_BT.sum(-1, keepdim=True) / lengths_B1 * weights_B1,
        mask_BT=tokens.mask_BT.any(-1, keepdim=True),
        clip_low=clip_low,
        clip_high=clip_high,
    )
    factor_B1 = responses.clipped_factor(None)
    keep_B1 = (~(responses.clipped_low_BT | responses.clipped_high_BT)).to(factor_B1.dtype)
    return _loss(responses, factor_B1, keep_B1, num_responses), _metrics(responses, factor_B1 * keep_B1)


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


@dataclass(frozen=True)
class _Ratios:
    """A batch's log-ratios and what they are weighed with; masked-out entries count as ratio 1, advantage 0.

    Only ``moving_BT``, which is log π_θ, carries a gradient.
    """

    moving_BT: Tensor
    log_ratio_BT: Tensor
    advantages_BT: Tensor
    mask_BT: Tensor
    clip_low: float
    clip_high: float

    @cached_property
    def below_BT(self) -> Tensor:
        return self.log_ratio_BT < math.log1p(-self.clip_low)

    @cached_property
    def above_BT(self) -> Tensor:
        return self.log_ratio_BT > math.log1p(self.clip_high)

    @cached_property
    def clipped_low_BT(self) -> Tensor:
        return self.below_BT & (self.advantages_BT < 0)

    @cached_property
    def clipped_high_BT(self) -> Tensor:
        return self.above_BT & (self.advantages_BT > 0)

    def bounded_ratio(self, ratio_cap: float | None) -> Tensor:
        """δ, held at ``ratio_cap`` (for Ã < 0) or at e^20 where it is larger."""
        limit = MAX_LOG_RATIO if ratio_cap is None else min(MAX_LOG_RATIO, math.log(ratio_cap))
        return torch.where(
            self.advantages_BT < 0, self.log_ratio_BT.clamp(max=limit), self.log_ratio_BT.clamp(max=MAX_LOG_RATIO)
        ).exp()

    def clipped_factor(self, ratio_cap: float | None) -> Tensor:
        """min(δÃ, clip(δ)Ã)/Ã: the bound where PPO clips, δ elsewhere."""
        factor_BT = torch.where(self.clipped_low_BT, 1 - self.clip_low, self.bounded_ratio(ratio_cap))
        return torch.where(self.clipped_high_BT, 1 + self.clip_high, factor_BT)


def _ratios(
    logprobs_BT: Tensor,
    old_logprobs_BT: Tensor,
    advantages_B: Tensor,
    mask_BT: Tensor,
    clip_low: float,
    clip_high: float,
    weights_BT: Tensor | None = None,
) -> _Ratios:
    """Log-ratios in float32 or finer, with everything that is masked out or infinite taken care of."""
    if not 0 <= clip_low < 1 or clip_high < 0:
        raise ValueError(f"clip range: got [1 - {clip_low}, 1 + {clip_high}]; expected 0 <= low < 1 and high >= 0")
    shape = logprobs_BT.shape
    per_token = [old_logprobs_BT, mask_BT, *([] if weights_BT is None else [weights_BT])]
    if advantages_B.shape != shape[:1] or any(tensor.shape != shape for tensor in per_token):
        # They would broadcast, and train on something else.
        raise ValueError(
            f"shapes: log-probabilities {list(shape)}, old ones, mask and weights "
            f"{[list(tensor.shape) for tensor in per_token]}, advantages {list(advantages_B.shape)}; expected the "
            "first shape for all but advantages, which have one value a response"
        )
    mask_BT = mask_BT.bool()
    dtype = torch.promote_types(logprobs_BT.dtype, torch.float32)
    # where() and not multiplication: 0 · NaN is NaN.
    current_BT = torch.where(mask_BT, logprobs_BT.to(dtype), 0.0)
    old_BT = torch.where(mask_BT, old_logprobs_BT.detach().to(dtype), 0.0)
    advantages_BT = torch.where(mask_BT, advantages_B.detach().to(dtype).unsqueeze(-1), 0.0)
    if weights_BT is not None:
        advantages_BT = torch.where(mask_BT, advantages_BT * weights_BT.detach(), 0.0)
    held_BT = current_BT.detach()
    return _Ratios(
        # A token of probability 0 has an infinite log-probability: it is constant, so it gets no gradient.
        moving_BT=torch.where(held_BT.isinf(), 0.0, current_BT),
        # Both −inf: the token is impossible before and after, and its ratio is 1.
        log_ratio_BT=torch.where(held_BT == old_BT, 0.0, held_BT - old_BT),
        advantages_BT=advantages_BT,
        mask_BT=mask_BT,
        clip_low=clip_low,
        clip_high=clip_high,
    )


def _loss(ratios: _Ratios, factor_BT: Tensor, keep_BT: Tensor, count: float | None) -> Tensor:
    """−Σ F·Ã·(1 + k·(log π − sg log π)) over ``count``: value −F·Ã, gradient −k·F·Ã·∇log π."""
    unit_BT = 1 + keep_BT * (ratios.moving_BT - ratios.moving_BT.detach())
    total = -(factor_BT * ratios.advantages_BT * unit_BT).sum()
    return total / (ratios.mask_BT.sum().clamp(min=1) if count is None else max(float(count), 1.0))


def _metrics(ratios: _Ratios, gradient_factor_BT: Tensor) -> Metrics:
    """Where the tokens lie, how far the policy moved, and how much of the gradient comes from outside the range.

    - ``clip_low_negative``, ``clip_high_positive``: share of tokens where PPO clips, by side and sign of Ã;
      ``below_positive``, ``above_negative``: share outside the range on the sides where it does not.
    - ``ratio_mean``, ``ratio_max``: of δ, and ``kl``: KL(old‖new) by the non-negative estimate δ − 1 − log δ.
      The responses are the old policy's. Log-ratios count as at most ±20 here.
    - ``entropy``: of π_θ, by the unbiased estimate −δ·log π_θ on the sampled tokens. Who has the logits can put
      the exact one in its place.
    - ``outside_gradient_share``: Σ|F·Ã| outside the range over the same of all tokens.
    """
    log_ratio_BT = ratios.log_ratio_BT.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
    ratio_BT = log_ratio_BT.exp()
    below_BT, above_BT = ratios.below_BT, ratios.above_BT
    rising_BT, falling_BT = ratios.advantages_BT > 0, ratios.advantages_BT < 0
    force_BT = (gradient_factor_BT * ratios.advantages_BT).abs()
    means = {
        "clip_low_negative": below_BT & falling_BT,
        "clip_high_positive": above_BT & rising_BT,
        "below_positive": below_BT & rising_BT,
        "above_negative": above_BT & falling_BT,
        "ratio_mean": torch.where(ratios.mask_BT, ratio_BT, 0.0),
        "kl": ratio_BT - 1 - log_ratio_BT,
        "entropy": -ratio_BT * ratios.moving_BT.detach(),
    }
    # Masked-out entries are 0 in each of these. One tensor, so that a GPU is waited for once.
    count = ratios.mask_BT.sum().clamp(min=1)
    outside = (force_BT * (below_BT | above_BT)).sum() / force_BT.sum().clamp(min=torch.finfo(force_BT.dtype).tiny)
    largest = torch.where(ratios.mask_BT, ratio_BT, 0.0).max() if ratios.mask_BT.numel() else outside.new_zeros(())
    figures = torch.stack([*(values_BT.sum() / count for values_BT in means.values()), largest, outside]).tolist()
    return dict(zip([*means, "ratio_max", "outside_gradient_share"], figures, strict=True))
