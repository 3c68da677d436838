"""Rollouts that one rank sampled, handed to all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch.distributed as dist

from klear_train.distributed import World
from klear_train.rollout.types import Group


def gather(world: World, value: Any) -> list[Any]:
    """Every rank's value, in the order of ranks."""
    if world.size == 1:
        return [value]
    found: list[Any] = [None] * world.size
    dist.all_gather_object(found, value, group=world.control)
    return found


def share_groups(world: World, groups: Sequence[Group]) -> list[Group]:
    """The groups of all ranks, in the order in which one process would have sampled them.

    Rank r samples every ``world.size``-th prompt from the r-th on. Sharing the rollouts themselves (eight bytes a
    token) lets every minibatch be dealt out evenly, and makes it the same for any number of ranks.
    """
    parts = gather(world, list(groups))
    longest = max(map(len, parts))
    return [part[at] for at in range(longest) for part in parts if at < len(part)]
