"""Log-probabilities of rollouts by the trainer, before a step's first update: π_old, and the reference's.

An engine with its own kernels gives other log-probabilities than the trainer would for the same weights. A ratio
between the two mixes that rounding with what the updates did; computed again, π_old is the trainer's, and what is
left between it and the sampler is an importance weight of its own (:mod:`klear_train.mismatch`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from klear_train.distributed import World
from klear_train.minibatch import deal
from klear_train.mismatch import mismatch_metrics
from klear_train.model import Policy, target_logprobs
from klear_train.packing import Example, collate
from klear_train.rollout import Group, Rollout
from klear_train.rollout.share import gather

NOTHING = Example([0, 0], [False, True])
"""What a rank computes on when the others still have rollouts."""


def score(
    policy: Policy, rollouts: Sequence[Rollout], *, temperature: float, budget: int, world: World
) -> list[Tensor]:
    """log π of the response tokens of each rollout, (T,) on the CPU; the same on every rank."""
    numbered = [replace(rollout, index=at) for at, rollout in enumerate(rollouts)]
    found: dict[int, Tensor] = {}
    was_training = policy.training
    policy.eval()
    with torch.no_grad():
        for micro in deal(numbered, ranks=world.size, budget=budget)[world.rank]:
            batch = collate([rollout.example() for rollout in micro] or [NOTHING]).to(world.device)
            logprobs_N, _ = policy(target_logprobs, batch, temperature=temperature)
            parts = logprobs_N.cpu().split([rollout.num_tokens for rollout in micro]) if micro else ()
            found |= {rollout.index: part for rollout, part in zip(micro, parts, strict=True)}
    policy.train(was_training)
    everywhere = {at: logprobs_T for part in gather(world, found) for at, logprobs_T in part.items()}
    return [everywhere[at] for at in range(len(rollouts))]


def rescored(
    policy: Policy, groups: Sequence[Group], *, into: str, temperature: float, budget: int, world: World
) -> list[Group]:
    """The same groups with what :func:`score` gives in the field ``into`` of every rollout that has tokens."""
    chosen = [(g, r) for g, group in enumerate(groups) for r, one in enumerate(group.rollouts) if one.num_tokens]
    scores = score(
        policy, [groups[g].rollouts[r] for g, r in chosen], temperature=temperature, budget=budget, world=world
    )  # fmt: skip
    known: dict[tuple[int, int], Tensor] = dict(zip(chosen, scores, strict=True))

    def with_score(rollout: Rollout, place: tuple[int, int]) -> Rollout:
        changed: dict[str, Any] = {into: known[place]} if place in known else {}
        return replace(rollout, **changed)

    return [
        replace(group, rollouts=[with_score(one, (g, r)) for r, one in enumerate(group.rollouts)])
        for g, group in enumerate(groups)
    ]


def mismatch_figures(groups: Sequence[Group]) -> dict[str, float]:
    """How far the sampler was from the trainer, over all tokens: see :func:`klear_train.mismatch.mismatch_metrics`."""
    rollouts = [rollout for group in groups for rollout in group.rollouts if rollout.num_tokens]
    if not rollouts:
        return {}
    trainer_1N = torch.cat([rollout.old_logprobs_T for rollout in rollouts])[None]
    sampler_1N = torch.cat([rollout.sampler_logprobs_T for rollout in rollouts])[None]
    return mismatch_metrics(trainer_1N, sampler_1N, torch.ones_like(trainer_1N))
