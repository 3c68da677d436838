"""What a run says: figures of its rollouts, lines of metrics.jsonl and rollouts.jsonl, the live line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

from klear_train.distributed import World
from klear_train.evaluate import accuracy_by
from klear_train.metrics import LiveLine, StepLog
from klear_train.rollout import Group
from klear_train.settings import RLConfig

MOST_SOURCES = 12
"""Sources with figures of their own; mixtures of more are summed up by ability only."""


def describe(groups: Sequence[Group]) -> dict[str, Any]:
    """Figures of the rollouts themselves; rewards leave unscored rollouts out, accuracy counts them as not right."""
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    rewards = [rollout.reward for rollout in rollouts if rollout.reward is not None]
    lengths = [rollout.num_tokens for rollout in rollouts]
    flat = [group for group in groups if not group.has_signal]
    verdicts = Counter(rollout.judgement["verdict"] for rollout in rollouts)
    by_ability = accuracy_by(groups, lambda record: record["ability"])
    by_source = accuracy_by(groups, lambda record: record.get("data_source") or "unknown")
    sources = by_source if 1 < len(by_source) <= MOST_SOURCES else {}
    return {
        "reward": fmean(rewards) if rewards else 0.0,
        "reward_std": pstdev(rewards) if rewards else 0.0,
        "accuracy": sum(one.mean * one.problems for one in by_ability.values()) / max(len(groups), 1),
        **{f"accuracy_{ability}": one.mean for ability, one in by_ability.items()},
        **{f"accuracy_source_{source}": one.mean for source, one in sources.items()},
        "groups": len(groups),
        "groups_all_correct": sum(all(rollout.correct for rollout in group.rollouts) for group in flat),
        "groups_none_correct": sum(not any(rollout.correct for rollout in group.rollouts) for group in flat),
        "rollouts": len(rollouts),
        "unscored": sum(rollout.judgement["reward"] is None for rollout in rollouts),
        **{f"verdict_{verdict}": count for verdict, count in sorted(verdicts.items())},
        "response_tokens": fmean(lengths) if lengths else 0.0,
        "response_tokens_max": max(lengths, default=0),
        "truncated": sum(rollout.cut_off for rollout in rollouts) / max(len(rollouts), 1),
    }


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


class RunLog:
    """The files and the live line of a run; only rank 0 has them."""

    def __init__(self, root: Path, config: RLConfig, world: World, *, resumed_step: int | None, quiet: bool) -> None:
        self._every = config.save_rollouts_every
        self._files: tuple[StepLog, StepLog, LiveLine] | None = None
        if world.is_main:
            self._files = (
                StepLog(root / "metrics.jsonl", resumed_step=resumed_step),
                StepLog(root / "rollouts.jsonl", resumed_step=resumed_step),
                LiveLine(config.steps, quiet=quiet),
            )

    def write(self, row: dict[str, Any]) -> None:
        """A line of metrics.jsonl."""
        if self._files is not None:
            self._files[0].write(row)

    def step(self, row: dict[str, Any], groups: Sequence[Group], *, last: bool) -> None:
        """A step's line, its rollouts where they are due, and the live line."""
        if self._files is None:
            return
        metrics, rollouts, live = self._files
        metrics.write(row)
        if self._every and row["step"] % self._every == 0:
            for line in rollout_lines(groups, row["step"]):
                rollouts.write(line)
        shown = ("reward", "accuracy", "response_tokens", "entropy")
        live.update(row["step"], {key: row[key] for key in shown if key in row}, last=last)
