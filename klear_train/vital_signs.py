"""What can die during an RL run, and what then happens: a clear end with nothing lost, never training on nothing."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from klear_data.errors import KlearError
from klear_train.distributed import World
from klear_train.optim import TrainingStopped
from klear_train.rollout import Group
from klear_train.rollout_log import rollout_lines
from klear_train.settings import RLConfig

CONSTANT_STEPS_TO_WARN = 5


class SamplerFailed(KlearError):
    """The rollout engine died; the steps before are kept."""


@contextmanager
def sampler_errors(step: int) -> Iterator[None]:
    """Name what an engine dies of.

    Raises:
        SamplerFailed: in place of what it raised.
    """
    try:
        yield
    except KlearError:
        raise
    except (RuntimeError, OSError, ValueError, MemoryError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else ""
        raise SamplerFailed(
            f"step {step}: the rollout engine failed ({type(error).__name__}: {reason}); expected rollouts; the steps "
            "before are in checkpoints/: mend the cause (memory, mostly) and go on with --resume"
        ) from error


class VitalSigns:
    """Watches the steps of a run; every process sees the same groups and so decides alike."""

    def __init__(self, config: RLConfig, root: Path, world: World) -> None:
        self.config, self.root, self.world = config, root, world
        self.constant = self.unscored = self.skipped = 0

    def check(self, row: dict[str, Any], groups: Sequence[Group]) -> None:
        """Warn of steps that teach nothing, keep the rollouts of a step whose numbers were none, stop when blind.

        Raises:
            TrainingStopped: the verifiers failed on most rollouts, several steps in a row.
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
            raise TrainingStopped(
                f"step {row['step']}: the verifiers failed on more than half of the rollouts for {self.unscored} steps "
                "(see rollouts.jsonl and `klear doctor`); expected verdicts; mend them, then go on with --resume"
            )

    def keep(self, step: int, groups: Sequence[Group]) -> None:
        """Write the rollouts of a step to ``bad_step_*.jsonl``."""
        if self.world.is_main:
            path = self.root / f"bad_step_{step:06d}.jsonl"
            lines = (json.dumps(line, ensure_ascii=False) + "\n" for line in rollout_lines(groups, step))
            path.write_text("".join(lines), encoding="utf-8")

    def _say(self, text: str) -> None:
        if self.world.is_main:
            print(f"warning: {text}", file=sys.stderr)
