"""Accuracies with their uncertainty: over questions, and over the samples of the questions at hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, stdev

_Z95 = NormalDist().inv_cdf(0.975)

FEW_QUESTIONS = 100
"""Below this the interval over questions is bootstrapped: accuracies pile up at 0 and 1, and t comes out too short."""

RESAMPLES = 10_000


@dataclass(frozen=True)
class Estimate:
    """A mean with its standard error and 95% interval.

    Attributes:
        value: the mean.
        se: its standard error.
        low, high: the interval.
        method: how the interval was made: ``t``, ``bootstrap-t``, ``wilson`` (all values are equal), ``normal``.
    """

    value: float
    se: float
    low: float
    high: float
    method: str


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


def over_questions(values: Sequence[float], *, least: float = 0.0, most: float = 1.0) -> Estimate | None:
    """The mean over questions, and how far it may be from the mean over all questions of that kind.

    From 100 questions on Student's t; below, the bootstrap of the studentised mean (Efron 1979; Hall 1988), which
    follows the skewness that t ignores. Where all values are equal neither knows anything: then Wilson's interval,
    each question counted as one trial.

    Args:
        values: one a question.
        least, most: what a value can be; the interval is cut there.

    Returns:
        None for fewer than two questions.

    >>> found = over_questions([0.0, 1.0, 0.5, 0.5])
    >>> found.value, round(found.se, 3), found.method
    (0.5, 0.204, 'bootstrap-t')
    """
    count = len(values)
    if count < 2:
        return None
    mean, se = fmean(values), stdev(values) / math.sqrt(count)
    if se < 1e-12:  # equal but for rounding
        share = (mean - least) / (most - least)
        low, high = (least + bound * (most - least) for bound in wilson95(share, count))
        return Estimate(mean, 0.0, low, high, "wilson")
    if count >= FEW_QUESTIONS:
        method, below, above = "t", t_quantile95(count - 1), t_quantile95(count - 1)
    else:
        method, (below, above) = "bootstrap-t", _studentised_quantiles(values)
    return Estimate(mean, se, max(least, mean - below * se), min(most, mean + above * se), method)


def over_samples(correct: Sequence[int], samples: Sequence[int]) -> Estimate | None:
    """The mean accuracy of these very questions, and how far other samples of the same model would move it.

    The questions are fixed, so only the draws within each vary: Σ p(1−p)/(n−1) over the squared number of questions,
    with a normal interval. Where no question has both right and wrong samples the variance is that of Jeffreys'
    p = (c + ½)/(n + 1): nothing was seen to vary, which does not mean that nothing can.

    Args:
        correct: right samples of each question.
        samples: all samples of each question.

    Returns:
        None without questions, or where one has fewer than two samples.
    """
    if not samples or min(samples) < 2:
        return None
    count = len(samples)
    mean = fmean(c / n for c, n in zip(correct, samples, strict=True))
    variance = sum(c * (n - c) / (n * n * (n - 1)) for c, n in zip(correct, samples, strict=True))
    if variance == 0:
        rates = ((c + 0.5) / (n + 1) for c, n in zip(correct, samples, strict=True))
        variance = sum(p * (1 - p) / n for p, n in zip(rates, samples, strict=True))
    se = math.sqrt(variance) / count
    return Estimate(mean, se, max(0.0, mean - _Z95 * se), min(1.0, mean + _Z95 * se), "normal")


def t_quantile95(freedom: int) -> float:
    """The 97.5% quantile of Student's t: its central 95% lie within ± this.

    >>> [round(t_quantile95(freedom), 3) for freedom in (1, 2, 29, 1000)]
    [12.706, 4.303, 2.045, 1.962]
    """
    low, high = 0.0, 13.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _t_central(middle, freedom) < 0.95 else (low, middle)
    return (low + high) / 2


def _t_central(t: float, freedom: int) -> float:
    """P(|T| < t): a finite sum for whole degrees of freedom (Abramowitz & Stegun 26.7.3, 26.7.4)."""
    angle = math.atan(t / math.sqrt(freedom))
    cosine = math.cos(angle)
    odd = freedom % 2
    term = total = 0.0 if freedom == 1 else (cosine if odd else 1.0)
    for step in range(2 + odd, freedom - 1, 2):
        term *= (step - 1) / step * cosine**2
        total += term
    return 2 / math.pi * (angle + math.sin(angle) * total) if odd else math.sin(angle) * total


def _studentised_quantiles(values: Sequence[float]) -> tuple[float, float]:
    """How many standard errors the truth may lie below and above the mean, from the resampled t statistics."""
    import numpy as np

    x = np.asarray(values, dtype=float)
    count = len(x)
    drawn = x[np.random.default_rng(0).integers(0, count, (RESAMPLES, count))]
    error, off = drawn.std(axis=1, ddof=1) / math.sqrt(count), drawn.mean(axis=1) - x.mean()
    flat = error < 1e-12  # a resample without spread is as far off as can be, or not at all
    t = np.where(flat, np.where(np.abs(off) < 1e-12, 0.0, np.copysign(np.inf, off)), off / np.where(flat, 1.0, error))
    t.sort()
    return float(t[math.ceil(0.975 * RESAMPLES) - 1]), float(-t[math.floor(0.025 * RESAMPLES)])


def wilson95(share: float, trials: int) -> tuple[float, float]:
    """The 95% Wilson score interval of a proportion that was seen in so many trials."""
    spread = _Z95**2 / trials
    centre = (share + spread / 2) / (1 + spread)
    half = _Z95 * math.sqrt(share * (1 - share) / trials + spread / (4 * trials)) / (1 + spread)
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))
