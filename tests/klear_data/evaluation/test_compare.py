"""Two evaluations of the same questions."""

import random
from itertools import product

import pytest

from klear_data.evaluation.compare import Pair, comparison, fisher, moved, pairs_of, sign_flip
from klear_data.evaluation.question import question_of
from tests.klear_data.evaluation.helpers import judged


def question(correct, samples, number=0, source="toy"):
    return question_of(judged(["AC"] * correct + ["WA"] * (samples - correct), number=number, source=source))


def pairs(counts, samples=(8, 8)):
    return [
        Pair(question(a, samples[0], at), question(b, samples[1], at)) for at, (a, b) in enumerate(counts)
    ]  # fmt: skip


def brute_force(some):
    differences = [pair.difference for pair in some]
    seen = abs(sum(differences)) - 1e-12
    flips = list(product((-1, 1), repeat=len(differences)))
    return sum(abs(sum(s * d for s, d in zip(signs, differences, strict=True))) >= seen for signs in flips) / len(flips)


@pytest.mark.parametrize("seed", range(8))
def test_the_sign_flip_test_is_that_over_all_flips(seed):
    rng = random.Random(seed)
    some = pairs([(rng.randint(0, 8), rng.randint(0, 6)) for _ in range(10)], samples=(8, 6))
    p, how = sign_flip(some)
    assert how == "exact"
    assert p == pytest.approx(brute_force(some), abs=1e-9)


def test_no_difference_at_all_has_p_of_1():
    assert sign_flip(pairs([(3, 3), (8, 8)]))[0] == 1.0


def test_where_the_table_would_be_too_large_random_flips_agree_with_the_exact_test(monkeypatch):
    rng = random.Random(3)
    some = pairs([(rng.randint(0, 5), rng.randint(2, 8)) for _ in range(30)])
    exact, _ = sign_flip(some)
    monkeypatch.setattr("klear_data.evaluation.compare._LARGEST_TABLE", 0)
    approximate, how = sign_flip(some)
    assert how == "100000 random flips"
    assert approximate == pytest.approx(exact, rel=0.15, abs=2e-4)


def test_equal_models_are_told_apart_by_chance_only():
    rng = random.Random(4)
    ps = []
    for _ in range(200):
        chances = [rng.betavariate(0.5, 0.5) for _ in range(30)]
        counts = [[sum(rng.random() < chance for _ in range(8)) for _ in "ab"] for chance in chances]
        ps.append(sign_flip(pairs(counts))[0])
    assert 0.01 <= sum(p < 0.05 for p in ps) / 200 <= 0.09


def test_pairing_sees_a_gain_that_two_separate_intervals_do_not():
    rng = random.Random(5)
    base = [rng.randint(0, 56) for _ in range(30)]
    got = comparison(pairs([(one, one + rng.randint(2, 8)) for one in base], samples=(64, 64)))
    assert got["difference"]["over_questions"]["low"] > 0
    assert got["sign_flip"]["p"] < 1e-6
    assert (got["better"], got["worse"]) == (30, 0)


def test_fishers_test_of_one_question_is_the_textbooks():
    assert fisher(Pair(question(3, 4), question(1, 4))) == pytest.approx(0.4857, abs=1e-4)  # the lady tasting tea
    assert fisher(Pair(question(4, 8), question(4, 8))) == pytest.approx(1.0)


def test_questions_are_matched_by_benchmark_and_id_and_turn():
    a = [question(1, 2, 7), question(2, 2, 7), question(0, 2, 1), question(0, 2, 7, "other")]
    b = [question(0, 2, 9), question(0, 2, 7), question(1, 2, 7), question(2, 2, 7, "other")]
    found, only_a, only_b = pairs_of(a, b)
    assert [(pair.a.correct, pair.b.correct) for pair in found] == [(1, 0), (2, 1), (0, 2)]
    assert (only_a, only_b) == (1, 1)


def test_the_questions_that_moved_come_in_the_order_of_how_far():
    some = pairs([(8, 8), (0, 2), (8, 1), (3, 5)])
    assert [pair.difference for pair in moved(some)] == [-7 / 8, 2 / 8, 2 / 8]
