"""From a verdict to a number: the paper's reward, the authors' released one, and a binary one."""

from __future__ import annotations

from typing import Literal

from klear_data.reward.think import MissingTag

Scheme = Literal["paper", "official", "binary"]
Verdict = Literal["AC", "WA", "RE", "TL", "ML", "OL", "CE", "NA", "FE", "XX"]


def reward_of(
    verdict: Verdict, scheme: Scheme = "paper", *, ability: str, passed: int = 0, total: int = 0,
    missing: MissingTag | None = None,
) -> float | None:  # fmt: skip
    """The reward of one rollout, ``None`` where the verifier failed (``XX`` is never a reward).

    Args:
        verdict: of the rollout; ``FE`` where a required think tag is missing.
        scheme: ``paper`` (math ±1, code passed/total, tags missing −1), ``official`` (math ±1, code the
            mean over tests of ±1, ``<think>`` missing −2, ``</think>`` missing −0.5) or ``binary``
            (1 if accepted, else 0).
        ability: ``math`` or ``code``.
        passed, total: tests of a code rollout.
        missing: the tag that ``FE`` is about.
    """
    if verdict == "XX":
        return None
    accepted = verdict == "AC"
    if scheme == "binary":
        return 1.0 if accepted else 0.0
    if verdict == "FE":
        if scheme == "paper":
            return -1.0
        return -2.0 if missing == "open" else -0.5
    if ability == "math":
        return 1.0 if accepted else -1.0
    share = passed / total if total else 0.0
    return share if scheme == "paper" else 2.0 * share - 1.0
