"""What a step's rollouts were like: figures for metrics.jsonl, and the rollouts themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from klear_train.evaluate import accuracy_by_ability
from klear_train.rollout import Group


def describe(groups: Sequence[Group]) -> dict[str, Any]:
    """Figures of the rollouts themselves; rewards leave unscored rollouts out, accuracy counts them as wrong."""
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    rewards = [rollout.reward for rollout in rollouts if rollout.reward is not None]
    by_ability = accuracy_by_ability(groups)
    rates = [accuracy.mean * accuracy.problems for accuracy in by_ability.values()]
    flat = [group for group in groups if not group.has_signal]
    return {
        "reward": sum(rewards) / max(len(rewards), 1),
        "accuracy": sum(rates) / max(sum(accuracy.problems for accuracy in by_ability.values()), 1),
        **{f"accuracy_{ability}": accuracy.mean for ability, accuracy in by_ability.items()},
        "groups": len(groups),
        "groups_all_correct": sum(all(rollout.correct for rollout in group.rollouts) for group in flat),
        "groups_none_correct": sum(not any(rollout.correct for rollout in group.rollouts) for group in flat),
        "unscored": len(rollouts) - len(rewards),
        "response_tokens": sum(rollout.num_tokens for rollout in rollouts) / len(rollouts),
        "truncated": sum(rollout.cut_off for rollout in rollouts) / len(rollouts),
    }


def figures(row: dict[str, Any]) -> dict[str, float]:
    """The few that the live line shows."""
    return {key: row[key] for key in ("reward", "accuracy", "response_tokens", "entropy") if key in row}


def rollout_lines(groups: Sequence[Group], step: int) -> Iterator[dict[str, Any]]:
    """One object a group for rollouts.jsonl: what was asked, written and judged in this step."""
    for group in groups:
        rollouts = [
            {
                "index": rollout.index,
                "completion": rollout.text,
                "finish_reason": rollout.finish_reason,
                "num_tokens": rollout.num_tokens,
                **rollout.judgement,
                "advantage": rollout.advantage,
            }
            for rollout in group.rollouts
        ]
        yield {"step": step, "id": group.record["id"], "prompt": group.record["prompt"], "rollouts": rollouts}
