"""One optimizer step of RL: a minibatch of judged groups, in micro-batches, normalised as a whole.

Shapes: N trained tokens of a micro-batch, B its rollouts, T the longest response.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from klear_train import losses
from klear_train.model import target_logprobs
from klear_train.packing import collate
from klear_train.rollout import Group, Rollout
from klear_train.settings import LossSection, RLConfig


@dataclass(frozen=True)
class Totals:
    """What a minibatch's sums are divided by, the same for each of its micro-batches."""

    tokens: int
    correct_tokens: int
    responses: int


def accumulate_gradient(model: Any, groups: Sequence[Group], config: RLConfig, *, pad_id: int) -> dict[str, float]:
    """Add the gradient of GPPO + α·NLL (Eq. 13) on a minibatch of groups to the model's.

    The policy loss is divided by ΣT_j of the minibatch (Eq. 7, 11), the likelihood by the tokens of its correct
    rollouts (Eq. 14), so neither depends on how the rollouts are packed or split.

    Returns:
        The loss and the losses' metrics, averaged over tokens (``ratio_max``: over micro-batches, the largest);
        empty where no rollout carries a gradient.
    """
    chosen = [rollout for group in groups for rollout in trainable(group, config)]
    totals = Totals(
        tokens=sum(rollout.num_tokens for rollout in chosen),
        correct_tokens=sum(rollout.num_tokens for rollout in chosen if rollout.correct),
        responses=len(chosen),
    )
    found: dict[str, float] = {}
    for micro in micro_batches(chosen, config.micro_batch_tokens):
        loss, metrics = micro_loss(model, micro, totals, config, pad_id=pad_id)
        loss.backward()
        found["loss"] = found.get("loss", 0.0) + float(loss.detach())
        share = sum(rollout.num_tokens for rollout in micro) / totals.tokens
        for key, value in metrics.items():
            found[key] = max(found.get(key, 0.0), value) if key == "ratio_max" else found.get(key, 0.0) + value * share
    return found


def trainable(group: Group, config: RLConfig) -> Iterator[Rollout]:
    """The rollouts that carry a gradient: scored, not empty, and not cut off where those are to be left out."""
    for rollout in group.rollouts:
        cut_off = config.rollout.drop_truncated and rollout.cut_off
        if rollout.advantage is not None and rollout.num_tokens and not cut_off:
            yield rollout


def micro_batches(rollouts: Sequence[Rollout], tokens: int) -> Iterator[list[Rollout]]:
    """Rollouts of about one length together, at most ``tokens`` to a micro-batch (or one that is longer)."""
    micro: list[Rollout] = []
    used = 0
    for rollout in sorted(rollouts, key=lambda one: one.num_tokens + len(one.prompt_ids)):
        size = rollout.num_tokens + len(rollout.prompt_ids)
        if micro and used + size > tokens:
            yield micro
            micro, used = [], 0
        micro.append(rollout)
        used += size
    if micro:
        yield micro


def micro_loss(
    model: Any, micro: Sequence[Rollout], totals: Totals, config: RLConfig, *, pad_id: int
) -> tuple[Tensor, dict[str, float]]:
    """This micro-batch's share of the minibatch's loss, with gradient, and its metrics."""
    batch = collate([rollout.example() for rollout in micro]).to(model.device)
    logprobs_N, entropy_N = target_logprobs(model, batch, temperature=config.rollout.temperature, with_entropy=True)
    old_N = torch.cat([rollout.old_logprobs_T for rollout in micro]).to(model.device)
    logprobs_BT = batch.rows_SL(logprobs_N)
    old_logprobs_BT = batch.rows_SL(old_N)
    mask_BT = batch.rows_SL(torch.ones_like(logprobs_N)).bool()
    advantages_B = torch.tensor([rollout.advantage for rollout in micro], device=model.device)
    loss, metrics = policy_loss(logprobs_BT, old_logprobs_BT, advantages_B, mask_BT, config.loss, totals)
    if config.loss.nll_weight:
        correct_B = torch.tensor([rollout.correct for rollout in micro], device=model.device)
        nll, nll_metrics = losses.positive_nll_loss(logprobs_BT, correct_B, mask_BT, num_tokens=totals.correct_tokens)
        loss = loss + config.loss.nll_weight * nll
        metrics |= nll_metrics
    metrics["entropy"] = float(entropy_N.mean()) if entropy_N is not None else 0.0
    return loss, metrics


def policy_loss(
    logprobs_BT: Tensor,
    old_logprobs_BT: Tensor,
    advantages_B: Tensor,
    mask_BT: Tensor,
    config: LossSection,
    totals: Totals,
) -> tuple[Tensor, dict[str, float]]:
    """The configured loss, normalised over the minibatch."""
    tensors = (logprobs_BT, old_logprobs_BT, advantages_B, mask_BT)
    clip = {"clip_low": config.clip_low, "clip_high": config.clip_high}
    if config.kind == "gspo":
        return losses.gspo_loss(*tensors, **clip, num_responses=totals.responses)
    if config.kind == "cispo":
        return losses.cispo_loss(*tensors, **clip, num_tokens=totals.tokens)
    if config.kind == "clip_higher":
        return losses.clip_higher_loss(*tensors, **clip, ratio_cap=config.ratio_cap, num_tokens=totals.tokens)
    return losses.gppo_loss(
        *tensors,
        **clip,
        beta_low=config.beta_low,
        beta_high=config.beta_high,
        ratio_cap=config.ratio_cap,
        num_tokens=totals.tokens,
    )
