"""What can die during an RL run, and what then happens: a clear end with nothing lost, never training on nothing."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from klear_train.distributed import World
from klear_train.optim import TrainingStopped
from klear_train.rollout import Group
from klear_train.rollout_log import rollout_lines
from klear_train.settings import RLConfig

CONSTANT_STEPS_TO_WARN = 5


class VerifiersFailed(TrainingStopped):
    """The verifiers gave most rollouts no verdict, several steps in a row."""


class VitalSigns:
    """Watches the steps of a run; every process sees the same groups and so decides alike."""

    def __init__(self, config: RLConfig, root: Path, world: World) -> None:
        self.config, self.root, self.world = config, root, world
        self.constant = self.unscored = self.skipped = 0

    def check(self, row: dict[str, Any], groups: Sequence[Group]) -> None:
        """Warn of steps that teach nothing, keep the rollouts of a step whose numbers were none, stop when blind.

        Raises:
            VerifiersFailed: they did on most rollouts, several steps in a row.
        """
        if row.get("skipped_updates", 0) > self.skipped:
            self.keep(row["step"], groups)
            self._say(f"step {row['step']}: a loss or gradient was no number; update skipped, rollouts kept")
        self.skipped = row.get("skipped_updates", 0)

        self.constant = 0 if row["groups_kept"] else self.constant + 1
        if self.constant and self.constant % CONSTANT_STEPS_TO_WARN == 0:
            self._say(
                f"no group had two different rewards for {self.constant} steps (mean reward {row['reward']:.3f}); "
                "nothing is being learnt: the problems are too easy or too hard for this model, or its responses fail "
                "the tag rule (reward.think)"
            )
        self.unscored = self.unscored + 1 if row["unscored"] > row["rollouts"] / 2 else 0
        if self.unscored >= self.config.stop_after_unscored_steps:
            self.keep(row["step"], groups)
            raise VerifiersFailed(
                f"step {row['step']}: the verifiers failed on more than half of the rollouts for {self.unscored} steps "
                f"({_what_they_said(groups)}; see {_bad(row['step'])} and `klear doctor`); expected verdicts; mend "
                "them, then go on with --resume"
            )

    def keep(self, step: int, groups: Sequence[Group]) -> None:
        """Write the rollouts of a step to ``bad_step_*.jsonl``."""
        if self.world.is_main:
            lines = (json.dumps(line, ensure_ascii=False) + "\n" for line in rollout_lines(groups, step))
            (self.root / _bad(step)).write_text("".join(lines), encoding="utf-8")

    def _say(self, text: str) -> None:
        if self.world.is_main:
            print(f"warning: {text}", file=sys.stderr)


def _bad(step: int) -> str:
    return f"bad_step_{step:06d}.jsonl"


def _what_they_said(groups: Sequence[Group]) -> str:
    """The first reason that a verifier gave for having none of the verdicts."""
    unscored = [one.judgement for group in groups for one in group.rollouts if one.judgement["reward"] is None]
    if all(one.get("weak") for one in unscored):
        return "their tests share an interpreter with the program; reward.keep_weak takes such verdicts"
    return str(next((one["error"] for one in unscored if one.get("error")), f"verdict {unscored[0]['verdict']}"))
