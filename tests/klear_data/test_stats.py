"""Intervals over questions."""

import random
from statistics import NormalDist

import pytest

from klear_data.stats import mean_ci95


def test_the_interval_is_mean_plus_minus_z_standard_errors():
    mean, low, high = mean_ci95([0.0, 1.0, 0.5, 0.5])
    # Sample variance 1/6, standard error sqrt(1/24).
    half = NormalDist().inv_cdf(0.975) * (1 / 24) ** 0.5
    assert (mean, low, high) == pytest.approx((0.5, 0.5 - half, 0.5 + half))


def test_the_interval_covers_the_truth_where_pooling_rollouts_would_not():
    rng = random.Random(0)
    covered = pooled = 0
    for _ in range(400):
        chances = [rng.betavariate(0.5, 0.5) for _ in range(150)]  # questions are easy or hard: mean 0.5
        rates = [sum(rng.random() < chance for _ in range(8)) / 8 for chance in chances]
        mean, low, high = mean_ci95(rates)
        covered += low <= 0.5 <= high
        pooled += abs(mean - 0.5) <= 1.96 * (mean * (1 - mean) / (150 * 8)) ** 0.5
    assert 0.92 <= covered / 400 <= 0.98
    assert pooled / 400 < 0.75


def test_one_question_has_no_interval():
    with pytest.raises(ValueError, match="at least 2"):
        mean_ci95([1.0])
