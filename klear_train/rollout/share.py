"""Rollouts that one rank sampled, handed to all; and what becomes of a rank whose engine died."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch.distributed as dist

from klear_data.errors import KlearError
from klear_train.distributed import World
from klear_train.rollout.types import Group

Record = dict[str, Any]


class SamplerFailed(KlearError):
    """The rollout engine of a process died; all processes of the run raise this together."""


def sample_together(
    world: World, records: Sequence[Record], sample: Callable[[Sequence[Record]], Sequence[Group]], *, where: str
) -> list[Group]:
    """The groups of all records on all ranks, each rank having sampled its share; see :func:`share_groups`.

    Args:
        world: the processes of the run.
        records: what is sampled, the same on every rank.
        sample: samples some of them, without waiting for other ranks.
        where: the step, for the message.

    Raises:
        SamplerFailed: on every rank, where ``sample`` failed on any of them.
    """
    groups: Sequence[Group] = []
    failure: Exception | None = None
    try:
        groups = sample(records[world.rank :: world.size])
    except (KlearError, RuntimeError, OSError, ValueError, MemoryError) as error:
        failure = error
    # Told before the groups are exchanged: a rank that only left would keep the others waiting.
    reasons = [reason for reason in gather(world, failure and _reason(failure)) if reason]
    if reasons:
        raise SamplerFailed(
            f"{where}: the rollout engine failed ({reasons[0]}); expected rollouts; the steps before are in "
            "checkpoints/: mend the cause (memory, mostly) and go on with --resume"
        ) from failure
    return share_groups(world, groups, records)


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"


def gather(world: World, value: Any) -> list[Any]:
    """Every rank's value, in the order of ranks."""
    if world.size == 1:
        return [value]
    found: list[Any] = [None] * world.size
    dist.all_gather_object(found, value, group=world.control)
    return found


def share_groups(world: World, groups: Sequence[Group], records: Sequence[Record]) -> list[Group]:
    """The groups of all ranks, in the order in which one process would have sampled them.

    Rank r samples every ``world.size``-th of ``records`` from the r-th on. Sharing the rollouts themselves (eight bytes
    a token) lets every minibatch be dealt out evenly, and makes it the same for any number of ranks. The records stay
    where they are: the tests of a code problem can be megabytes, and every rank has them.
    """
    parts = gather(world, [(group.rollouts, group.has_signal) for group in groups])
    longest = max(map(len, parts))
    shared = [part[at] for at in range(longest) for part in parts if at < len(part)]
    return [Group(record, *found) for record, found in zip(records, shared, strict=True)]
