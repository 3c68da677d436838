"""How an RL step's rollouts become optimizer steps, and each of those micro-batches on every rank."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from klear_train.packing import pack
from klear_train.rollout import Group, Rollout
from klear_train.settings import RLConfig


@dataclass(frozen=True)
class Minibatch:
    """The rollouts of one optimizer step, of all ranks.

    Attributes:
        rollouts: those that carry a gradient.
        tokens: ΣT_j, what the policy loss is divided by (Eq. 7, 11).
        correct_tokens: of the accepted ones, what the likelihood is divided by (Eq. 14).
    """

    rollouts: list[Rollout]
    tokens: int
    correct_tokens: int


def minibatches(groups: Sequence[Group], config: RLConfig, *, step: int) -> Iterator[Minibatch]:
    """The optimizer steps of an RL step: for each epoch its groups, shuffled by seed, step and epoch."""
    for epoch in range(config.epochs):
        order = list(groups)
        random.Random(f"{config.seed}/{step}/{epoch}").shuffle(order)
        for start in range(0, len(order), config.prompts_per_minibatch):
            chosen = order[start : start + config.prompts_per_minibatch]
            rollouts = [one for group in chosen for one in group.rollouts if one.trains]
            if rollouts:
                yield Minibatch(
                    rollouts,
                    tokens=sum(rollout.num_tokens for rollout in rollouts),
                    correct_tokens=sum(rollout.num_tokens for rollout in rollouts if rollout.correct),
                )


def micro_batches(rollouts: Sequence[Rollout], *, budget: int) -> list[list[Rollout]]:
    """Rollouts in micro-batches of at most ``budget`` tokens with their prompts, or one that is longer alone."""
    short = [rollout for rollout in rollouts if length(rollout) <= budget]
    alone = [[rollout] for rollout in rollouts if length(rollout) > budget]
    return alone + [[short[at] for at in row] for row in pack([length(rollout) for rollout in short], budget)]


def deal(rollouts: Sequence[Rollout], *, ranks: int, budget: int) -> list[list[list[Rollout]]]:
    """Each rank's micro-batches: about as many tokens for everyone, and equally many micro-batches.

    Where a rank has fewer, empty ones fill up: sharded weights are gathered by all ranks together.
    """
    hands: list[list[Rollout]] = [[] for _ in range(ranks)]
    held = [0] * ranks
    for rollout in sorted(rollouts, key=length, reverse=True):
        rank = held.index(min(held))
        hands[rank].append(rollout)
        held[rank] += length(rollout)
    dealt = [micro_batches(hand, budget=budget) for hand in hands]
    most = max(map(len, dealt))
    return [micros + [[] for _ in range(most - len(micros))] for micros in dealt]


def length(rollout: Rollout) -> int:
    """Tokens of prompt and response."""
    return len(rollout.prompt_ids) + rollout.num_tokens
