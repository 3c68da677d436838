"""Judged records made on the spot."""

from __future__ import annotations

from typing import Any

REWARDS = {"AC": 1.0, "XX": None}


def judged(
    verdicts: str | list[str], *, answers: list[str | None] | None = None, number: int = 0, source: str = "toy",
    ability: str = "math", lost: int = 0, **keys: Any,
) -> dict[str, Any]:  # fmt: skip
    """A record whose rollouts have these verdicts, separated by blanks; ``lost`` more never came."""
    listed = verdicts.split() if isinstance(verdicts, str) else verdicts
    rollouts = [
        {
            "index": at, "completion": "…", "finish_reason": "stop", "num_tokens": 10 * (at + 1), "verdict": verdict,
            "reward": REWARDS.get(verdict, -1.0), "answer": None if answers is None else answers[at],
        }
        for at, verdict in enumerate(listed)
    ]  # fmt: skip
    sampling: dict[str, Any] = {"model": "m", "n": len(listed) + lost}
    if lost:
        sampling["failed"] = [{"index": len(listed) + at, "finish_reason": "error"} for at in range(lost)]
    return {
        "schema": "klear/1", "id": f"{number:016x}", "data_source": source, "ability": ability,
        "prompt": [{"role": "user", "content": f"{number} + 1?"}],
        "reward_model": {"style": "rule", "ground_truth": str(number + 1)},
        "sampling": sampling, "rollouts": rollouts, **keys,
    }  # fmt: skip
