"""Accuracies with their uncertainty over questions."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist, fmean, stdev

_Z95 = NormalDist().inv_cdf(0.975)


def mean_ci95(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean of one value a question, and its 95% interval over questions (normal approximation).

    Each question counts once however many rollouts it has: rollouts of one question are no independent
    questions, and pooling them gives an interval that is far too narrow.

    Args:
        values: one mean a question, at least 2; below about 100 the interval is somewhat too narrow.

    Returns:
        Mean, lower and upper bound.

    Raises:
        ValueError: fewer than two questions.
    """
    if len(values) < 2:
        raise ValueError(f"{len(values)} questions; expected at least 2 for an interval")
    mean = fmean(values)
    half = _Z95 * stdev(values) / len(values) ** 0.5
    return mean, mean - half, mean + half
