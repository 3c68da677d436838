"""KL(π_θ‖π_ref) on sampled responses: as a term of the loss, or taken from the reward.

Shapes: B responses, T tokens of the longest. The paper has no such term (§4.1); it is an option for runs that
drift. With x = log π_ref − log π_θ of a sampled token the estimators are k1 = −x, k2 = x²/2 and
k3 = e^x − 1 − x (Schulman 2020, "Approximating KL Divergence"). As *values* k1 and k3 are unbiased, k3 with
less variance. As *losses* on the policy's own samples it is k2 whose gradient is that of KL(π_θ‖π_ref); k3's is
that of KL(π_ref‖π_θ), and k1's is zero in expectation (arXiv 2510.01555).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from klear_train.losses import MAX_LOG_RATIO, Metrics

Estimator = Literal["k2", "k3"]


def reference_kl_loss(
    logprobs_BT: Tensor,
    reference_logprobs_BT: Tensor,
    mask_BT: Tensor,
    *,
    estimator: Estimator = "k2",
    num_tokens: float | None = None,
) -> tuple[Tensor, Metrics]:
    """Token mean of an estimator of KL(π_θ‖π_ref), to be added to the policy loss with a small weight.

    Args:
        logprobs_BT: log π_θ of each response token, with gradient.
        reference_logprobs_BT: the same under the reference.
        mask_BT: true where a response token stands; elsewhere the others may hold anything.
        estimator: ``k2``, whose gradient is that of the KL divergence, or ``k3``, as GRPO has it. (k1 has no
            place here, see above; :func:`reference_kl_penalty` uses it.)
        num_tokens: what the sum is divided by, as in :func:`klear_train.losses.gppo_loss`.

    Returns:
        The loss, and ``reference_kl``, the value of k3 whatever the estimator. Log-ratios count as at most ±20.
    """
    mask_BT = mask_BT.bool()
    x_BT = _log_ratio(logprobs_BT, reference_logprobs_BT, mask_BT)
    k3_BT = x_BT.exp() - 1 - x_BT
    value_BT, slope_BT = (x_BT.square() / 2, -x_BT) if estimator == "k2" else (k3_BT, 1 - x_BT.exp())
    current_BT = torch.where(mask_BT, logprobs_BT, 0.0).to(x_BT.dtype)
    moving_BT = torch.where(current_BT.detach().isinf(), 0.0, current_BT)
    # Value and slope apart, so that a bounded ratio still pulls the policy back.
    total = (value_BT + slope_BT * (moving_BT - moving_BT.detach())).sum()
    count = mask_BT.sum().clamp(min=1)
    loss = total / (count if num_tokens is None else max(float(num_tokens), 1.0))
    return loss, {"reference_kl": float(k3_BT.sum() / count)}


def reference_kl_penalty(logprobs_BT: Tensor, reference_logprobs_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Σ_t k1 of each response, without gradient: what is taken, times a weight, from its reward (B values).

    In the reward k1 is the estimator with the right gradient (arXiv 2510.01555).
    """
    return -_log_ratio(logprobs_BT, reference_logprobs_BT, mask_BT.bool()).sum(-1)


def _log_ratio(logprobs_BT: Tensor, reference_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """x = log π_ref − log π_θ within ±20, in float32 or finer; 0 where masked out or both are −inf."""
    if not logprobs_BT.shape == reference_BT.shape == mask_BT.shape:
        shapes = [list(tensor.shape) for tensor in (logprobs_BT, reference_BT, mask_BT)]
        raise ValueError(f"shapes: policy's, reference's and mask are {shapes}; expected equal ones")
    dtype = torch.promote_types(logprobs_BT.dtype, torch.float32)
    current_BT = torch.where(mask_BT, logprobs_BT.detach().to(dtype), 0.0)
    reference_BT = torch.where(mask_BT, reference_BT.detach().to(dtype), 0.0)
    x_BT = torch.where(current_BT == reference_BT, 0.0, reference_BT - current_BT)
    return x_BT.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
