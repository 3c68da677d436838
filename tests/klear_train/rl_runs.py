"""What the tests of the RL loop share: records, a small config, and a model that is right now and then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from klear_data.text import content_id
from klear_train.config import load_config
from klear_train.settings import RLConfig


def record(problem: str, gold: str, ability: str = "math") -> dict[str, Any]:
    return {
        "schema": "klear/1",
        "id": content_id(problem),
        "ability": ability,
        "prompt": [{"role": "user", "content": problem}],
        "reward_model": {"style": "rule", "ground_truth": gold},
    }


def config(model: Path, *overrides: str) -> RLConfig:
    small = ["rollout.prompts_per_step=4", "rollout.n=4", "prompts_per_minibatch=2", "rollout.max_tokens=24", "steps=4"]
    return load_config(
        "rl",
        recipe="tiny-rl",
        # A random model is never right: whether the tags are there is what it can be rewarded for.
        overrides=[f"model.path={model}", *small, "checkpoint.every=1", "save_rollouts_every=2", *overrides],
    )
