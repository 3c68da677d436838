"""Difficulty of a problem for a model: its pass rate over the rollouts that could be scored (§3.1, §3.2.1)."""

from __future__ import annotations

import math
from typing import Any

from klear_data.records import Record

_Z95 = 1.959963984540054


def label_difficulty(record: Record, *, hard_below: float = 0.5, labeler: str | None = None) -> Record:
    """Add ``difficulty``: pass rate with its 95% interval, mean reward, scored and unscored, easy or hard.

    Rollouts whose verifier failed (``XX``, reward null) are counted in ``unscored`` and enter nothing else.

    Args:
        record: with judged rollouts.
        hard_below: a pass rate under this is ``hard``.
        labeler: who made the rollouts; the record's ``sampling.model`` if None.

    Returns:
        The record with the key added; ``label`` is ``unscored`` where no rollout was scored.
    """
    rollouts = record["rollouts"]
    scored = [rollout for rollout in rollouts if rollout["reward"] is not None]
    passes = sum(rollout["verdict"] == "AC" for rollout in scored)
    pass_rate = passes / len(scored) if scored else None
    difficulty: dict[str, Any] = {
        "pass_rate": pass_rate,
        "pass_rate_ci95": wilson_interval(passes, len(scored)),
        "mean_reward": sum(rollout["reward"] for rollout in scored) / len(scored) if scored else None,
        "scored": len(scored),
        "unscored": len(rollouts) - len(scored),
        "label": "unscored" if pass_rate is None else "hard" if pass_rate < hard_below else "easy",
        "labeler": labeler or (record.get("sampling") or {}).get("model"),
    }
    return {**record, "difficulty": difficulty}


def wilson_interval(passes: int, trials: int) -> list[float] | None:
    """The 95% Wilson score interval of a proportion, None without trials.

    >>> [round(bound, 3) for bound in wilson_interval(8, 16)]
    [0.28, 0.72]
    """
    if trials == 0:
        return None
    rate = passes / trials
    spread = _Z95**2 / trials
    centre = (rate + spread / 2) / (1 + spread)
    half = _Z95 * math.sqrt(rate * (1 - rate) / trials + spread / (4 * trials)) / (1 + spread)
    return [max(0.0, centre - half), min(1.0, centre + half)]
