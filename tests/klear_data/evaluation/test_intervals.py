"""Do the intervals cover what they claim? By simulation, where the truth is known."""

import random

import pytest

from klear_data.stats import over_questions, over_samples, t_quantile95

QUESTIONS, SAMPLES = 30, 64
SHAPES = [(0.5, 0.5), (2.0, 2.0), (0.8, 0.2), (0.3, 2.7)]
"""How the questions' chances spread (beta): half easy half hard, medium, most easy, most hard."""


def drawn(rng, chances, samples):
    return [sum(rng.random() < chance for _ in range(samples)) for chance in chances]


@pytest.mark.parametrize(("freedom", "expected"), [(1, 12.7062), (2, 4.3027), (5, 2.5706), (29, 2.0452), (499, 1.9647)])
def test_quantiles_of_t_agree_with_the_tables(freedom, expected):
    assert t_quantile95(freedom) == pytest.approx(expected, abs=5e-5)


def test_the_interval_over_questions_covers_95_percent_where_the_pooled_binomial_covers_a_third():
    rng = random.Random(1)
    covered = pooled = trials = 0
    for a, b in SHAPES:
        truth = a / (a + b)
        for _ in range(150):
            rates = [c / SAMPLES for c in drawn(rng, [rng.betavariate(a, b) for _ in range(QUESTIONS)], SAMPLES)]
            found = over_questions(rates)
            assert found is not None
            assert found.method == "bootstrap-t"
            covered += found.low <= truth <= found.high
            pooled_se = (found.value * (1 - found.value) / (QUESTIONS * SAMPLES)) ** 0.5
            pooled += abs(found.value - truth) <= 1.96 * pooled_se
            trials += 1
    assert 0.93 <= covered / trials <= 0.98
    assert pooled / trials < 0.5


def test_the_interval_over_samples_covers_where_the_questions_stay_the_same():
    rng = random.Random(2)
    covered = 0
    for _ in range(600):
        chances = [rng.betavariate(0.5, 0.5) for _ in range(QUESTIONS)]
        found = over_samples(drawn(rng, chances, SAMPLES), [SAMPLES] * QUESTIONS)
        assert found is not None
        covered += found.low <= sum(chances) / QUESTIONS <= found.high
    assert 0.92 <= covered / 600 <= 0.975


def test_few_questions_that_are_mostly_solved_leave_more_room_below_than_above():
    rates = [1.0] * 22 + [0.9, 0.8, 0.5, 0.5, 0.2, 0.0, 0.0, 0.0]
    found = over_questions(rates)
    assert found.value - found.low > 1.2 * (found.high - found.value)
    mirrored = over_questions([1 - rate for rate in rates])
    assert mirrored.high == pytest.approx(1 - found.low, abs=0.01)


def test_many_questions_get_the_t_interval():
    rates = [0.0, 1.0, 0.5, 0.25] * 25
    found = over_questions(rates)
    mean = sum(rates) / 100
    se = (sum((one - mean) ** 2 for one in rates) / 99 / 100) ** 0.5
    assert found.method == "t"
    assert (found.low, found.high) == pytest.approx((mean - 1.98422 * se, mean + 1.98422 * se), abs=1e-5)


def test_equal_rates_are_no_certainty():
    perfect = over_questions([1.0] * 30)
    assert (perfect.value, perfect.method, perfect.high) == (1.0, "wilson", 1.0)
    assert 0.8 < perfect.low < 0.9
    again = over_samples([64] * 30, [64] * 30)
    assert 0.98 < again.low < 1.0


def test_what_can_not_be_known_is_none():
    assert over_questions([0.5]) is None
    assert over_samples([1, 0], [1, 1]) is None
    assert over_samples([], []) is None


def test_the_same_rates_have_the_same_interval_and_it_stays_between_0_and_1():
    rates = [0.0, 0.0, 0.0, 0.1, 0.9]
    assert over_questions(rates) == over_questions(list(rates))
    found = over_questions(rates)
    assert 0.0 <= found.low <= found.value <= found.high <= 1.0
