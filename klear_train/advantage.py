"""Group-relative advantages: a rollout is as good as it is better than the others on the same prompt."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Literal

Scale = Literal["std", "none"]
Baseline = Literal["mean", "leave_one_out"]

EPSILON = 1e-6


def group_advantages(
    rewards: Sequence[float | None], *, scale: Scale = "std", baseline: Baseline = "mean"
) -> list[float | None] | None:
    """Advantages of one prompt's rollouts, Ã = (R − mean)/std (Klear-Reasoner Eq. 4).

    A reward of ``None`` (the verifier failed) takes no part in mean or deviation and gets no advantage.

    Args:
        rewards: of the rollouts of one prompt.
        scale: divide by the group's standard deviation (of the sample, n − 1, as in the released code), or not
            (Dr. GRPO, arXiv 2503.20783: the division weighs easy and hard prompts up).
        baseline: the mean of all scored rollouts, or of the others (leave one out, arXiv 2402.14740).

    Returns:
        One advantage a rollout, ``None`` for unscored ones; ``None`` for the whole group where it carries no
        signal (:func:`why_no_signal` says why; §5.2.5 drops such groups).

    >>> group_advantages([1.0, -1.0, None], scale="none")
    [1.0, -1.0, None]
    >>> group_advantages([1.0, 1.0]) is None
    True
    """
    if why_no_signal(rewards) is not None:
        return None
    scored = [reward for reward in rewards if reward is not None]
    mean = statistics.fmean(scored)
    spread = statistics.stdev(scored) + EPSILON if scale == "std" else 1.0
    # R − mean of the others = (R − mean of all) · n/(n − 1)
    stretch = len(scored) / (len(scored) - 1) if baseline == "leave_one_out" else 1.0
    return [None if reward is None else stretch * (reward - mean) / spread for reward in rewards]


def why_no_signal(rewards: Sequence[float | None]) -> str | None:
    """Why a group teaches nothing, or ``None`` where it does: ``too_few_scored`` or ``all_equal``.

    >>> why_no_signal([1.0, None]), why_no_signal([0.5, 0.5]), why_no_signal([1.0, -1.0])
    ('too_few_scored', 'all_equal', None)
    """
    scored = [reward for reward in rewards if reward is not None]
    if len(scored) < 2:
        return "too_few_scored"
    return "all_equal" if max(scored) - min(scored) < EPSILON else None
