"""The gradient of one optimizer step of RL: a minibatch in micro-batches over all ranks, normalised as a whole.

Shapes: N trained tokens of a micro-batch, B its rollouts, T the longest response.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from klear_train import losses
from klear_train.distributed import World
from klear_train.kl import reference_kl_loss
from klear_train.minibatch import Minibatch, deal
from klear_train.mismatch import masked_importance_weights, truncated_importance_weights
from klear_train.model import Policy, target_logprobs
from klear_train.packing import Batch, collate
from klear_train.rescore import NOTHING
from klear_train.rollout import Rollout
from klear_train.rollout.share import gather
from klear_train.settings import LossSection, RLConfig

Metrics = dict[str, float]
LARGEST = ("ratio_max",)
"""Metrics of which a step's largest value is kept; of the others, the mean over tokens."""


def accumulate_gradient(policy: Policy, minibatch: Minibatch, config: RLConfig, world: World) -> Metrics:
    """Add the gradient of GPPO + α·NLL (Eq. 13) on a minibatch to the policy's.

    The policy loss is divided by ΣT_j of the minibatch (Eq. 7, 11), the likelihood by the tokens of its correct
    rollouts (Eq. 14), so neither depends on how the rollouts are packed, split or spread over ranks.

    Returns:
        The loss and the losses' metrics, the same on every rank.
    """
    found: Metrics = {}
    for micro in deal(minibatch.rollouts, ranks=world.size, budget=config.micro_batch_tokens)[world.rank]:
        if not micro:  # the other ranks' shards wait for this one
            logprobs_N, _ = policy(target_logprobs, collate([NOTHING]).to(world.device))
            (0.0 * logprobs_N.sum()).backward()
            continue
        loss, metrics = micro_loss(policy, micro, minibatch, config, world)
        (loss * world.size).backward()  # FSDP takes the mean over ranks
        share = sum(rollout.num_tokens for rollout in micro) / minibatch.tokens
        for key, value in metrics.items():
            found[key] = max(found.get(key, 0.0), value) if key in LARGEST else found.get(key, 0.0) + value * share
        found["loss"] = found.get("loss", 0.0) + float(loss.detach())
    return _over_ranks(found, world)


def micro_loss(
    policy: Policy, micro: Sequence[Rollout], minibatch: Minibatch, config: RLConfig, world: World
) -> tuple[Tensor, Metrics]:
    """This micro-batch's share of the minibatch's loss, with gradient, and its metrics."""
    batch = collate([rollout.example() for rollout in micro]).to(world.device)
    logprobs_N, entropy_N = policy(
        target_logprobs, batch, temperature=config.rollout.temperature, with_entropy=True
    )  # fmt: skip

    def rows(of: Callable[[Rollout], Tensor]) -> Tensor:
        return rows_BT(micro, of, batch, world.device)

    logprobs_BT, old_logprobs_BT = batch.rows_SL(logprobs_N), rows(lambda one: one.old_logprobs_T)
    mask_BT = batch.rows_SL(torch.ones_like(logprobs_N)).bool()
    advantages_B = torch.tensor([rollout.advantage for rollout in micro], device=world.device)
    weights_BT = None
    if any(rollout.old_logprobs_T is not rollout.sampler_logprobs_T for rollout in micro):
        weights_BT = mismatch_weights(old_logprobs_BT, rows(lambda one: one.sampler_logprobs_T), mask_BT, config.loss)
    loss, metrics = policy_loss(
        logprobs_BT, old_logprobs_BT, advantages_B, mask_BT, config.loss, minibatch, weights_BT=weights_BT
    )
    if config.loss.nll_weight:
        correct_B = torch.tensor([rollout.correct for rollout in micro], device=world.device)
        nll, of_correct = losses.positive_nll_loss(
            logprobs_BT, correct_B, mask_BT, num_tokens=minibatch.correct_tokens
        )  # fmt: skip
        loss = loss + config.loss.nll_weight * nll
        # A mean over correct tokens; weighted so that the shares of the micro-batches add up to the minibatch's.
        weight = of_correct["positive_tokens"] / max(minibatch.correct_tokens, 1)
        metrics["positive_nll"] = of_correct["positive_nll"] * weight * minibatch.tokens / batch.num_trained
    if config.loss.kl_weight:
        reference_BT = rows(_reference)
        penalty, of_reference = reference_kl_loss(
            logprobs_BT, reference_BT, mask_BT, estimator=config.loss.kl_estimator, num_tokens=minibatch.tokens
        )
        loss = loss + config.loss.kl_weight * penalty
        metrics |= of_reference
    metrics["entropy"] = float(entropy_N.mean())
    return loss, metrics


def policy_loss(
    logprobs_BT: Tensor,
    old_logprobs_BT: Tensor,
    advantages_B: Tensor,
    mask_BT: Tensor,
    config: LossSection,
    minibatch: Minibatch,
    *,
    weights_BT: Tensor | None = None,
) -> tuple[Tensor, Metrics]:
    """The configured loss, normalised over the minibatch."""
    tensors = (logprobs_BT, old_logprobs_BT, advantages_B, mask_BT)
    clip: dict[str, Any] = {"clip_low": config.clip_low, "clip_high": config.clip_high, "weights_BT": weights_BT}
    if config.kind == "gspo":
        return losses.gspo_loss(*tensors, **clip, num_responses=len(minibatch.rollouts))
    if config.kind == "cispo":
        return losses.cispo_loss(*tensors, **clip, num_tokens=minibatch.tokens)
    if config.kind == "clip_higher":
        return losses.clip_higher_loss(*tensors, **clip, ratio_cap=config.ratio_cap, num_tokens=minibatch.tokens)
    return losses.gppo_loss(
        *tensors,
        **clip,
        beta_low=config.beta_low,
        beta_high=config.beta_high,
        ratio_cap=config.ratio_cap,
        num_tokens=minibatch.tokens,
    )


def mismatch_weights(trainer_BT: Tensor, sampler_BT: Tensor, mask_BT: Tensor, config: LossSection) -> Tensor | None:
    """The importance weights between sampler and trainer that the settings ask for."""
    if config.mismatch == "none":
        return None
    cap, level = config.mismatch_cap, config.mismatch_level
    if config.mismatch == "truncate":
        return truncated_importance_weights(trainer_BT, sampler_BT, mask_BT, cap=cap, level=level)
    return masked_importance_weights(
        trainer_BT, sampler_BT, mask_BT, low=config.mismatch_floor, high=cap, level=level
    )  # fmt: skip


def rows_BT(micro: Sequence[Rollout], of: Callable[[Rollout], Tensor], batch: Batch, device: Any) -> Tensor:
    """A value a token of each rollout, one row a rollout, zeros after its end."""
    return batch.rows_SL(torch.cat([of(rollout) for rollout in micro]).to(device))


def _reference(rollout: Rollout) -> Tensor:
    assert rollout.reference_logprobs_T is not None
    return rollout.reference_logprobs_T


def _over_ranks(found: Metrics, world: World) -> Metrics:
    """Sums (of shares) and largest values over the ranks; a rank without a micro-batch has nothing to add."""
    parts = gather(world, found)
    together: Metrics = {}
    for key in sorted({key for part in parts for key in part}):
        values = [part.get(key, 0.0) for part in parts]
        together[key] = max(values) if key in LARGEST else sum(values)
    return together
