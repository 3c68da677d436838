"""Counting judged records: the denominator, pass@k, the majority."""

import math
from itertools import combinations

import pytest

from klear_data.evaluation.question import majority, pass_at_k, question_of
from klear_data.reward.math import verify_answer
from tests.klear_data.evaluation.helpers import judged


def equal(one, other):
    return one == other or verify_answer(one, other).verdict == "AC"


def vote(verdicts, answers):
    return majority(judged(verdicts, answers=answers)["rollouts"], equal)


@pytest.mark.parametrize("samples", range(1, 11))
def test_pass_at_k_is_the_share_of_all_subsets_that_hold_a_right_sample(samples):
    for correct in range(samples + 1):
        for k in range(1, samples + 1):
            subsets = list(combinations(range(samples), k))
            brute = sum(any(one < correct for one in subset) for subset in subsets) / len(subsets)
            assert pass_at_k(samples, correct, k) == pytest.approx(brute, abs=1e-12)


def test_pass_at_k_of_many_samples_is_exact_where_floats_would_overflow():
    assert pass_at_k(2000, 1, 1000) == 0.5
    assert math.comb(2000, 1000) > 1e308
    with pytest.raises(ValueError, match=r"pass@5 of 4 samples"):
        pass_at_k(4, 1, 5)


def test_samples_that_never_came_or_could_not_be_judged_stay_in_the_denominator():
    question = question_of(judged("AC AC WA XX FE", lost=3))
    assert (question.samples, question.correct, question.failed) == (8, 2, 3)
    assert question.rate == 2 / 8
    assert question.verdicts == {"AC": 2, "WA": 1, "XX": 1, "FE": 1}


def test_a_question_of_which_no_sample_came_counts_as_not_solved():
    question = question_of(judged([], lost=4))
    assert (question.samples, question.rate, question.failed) == (4, 0.0, 4)


def test_a_rollout_marked_as_an_error_never_came():
    record = judged("AC WA")
    record["rollouts"][1]["finish_reason"] = "error"
    question = question_of(record)
    assert (question.samples, question.failed, question.verdicts) == (2, 1, {"AC": 1})


def test_what_a_filter_took_away_after_sampling_is_not_forgotten():
    record = judged("AC WA WA WA")
    record["rollouts"] = record["rollouts"][:1]
    assert question_of(record).rate == 1 / 4


def test_tokens_are_those_of_the_samples_that_say_them():
    record = judged("AC WA WA")
    record["rollouts"][0]["num_tokens"] = None
    question = question_of(record)
    assert (question.tokens, question.counted) == (50, 2)


@pytest.mark.parametrize(
    ("verdicts", "answers", "expected"),
    [
        ("AC AC WA", ["1", "1.0", "2"], 1.0),
        ("AC WA WA", ["1", "2", "2"], 0.0),
        ("AC WA WA", ["1", "2", "3"], 1 / 3),  # each has one vote
        ("AC WA WA", ["1", "1/2", "0.5"], 0.0),  # wrong answers that are equal vote together
        ("AC AC WA WA", ["1", "1", "\\frac{1}{2}", "0.50"], 0.5),
        ("AC NA NA NA FE FE", ["1", None, None, None, "7", "7"], 1.0),  # no answer or no tags: no vote
        ("WA WA", ["2", "3"], 0.0),
        ("NA NA", [None, None], 0.0),
        ("AC XX XX", ["1", "9^{9^{9}}", "9^{9^{9}}"], 0.0),  # what could not be judged is an answer still
    ],
)
def test_the_majority_counts_equal_answers_as_one(verdicts, answers, expected):
    assert vote(verdicts, answers) == expected


def test_programs_have_no_majority():
    assert question_of(judged("AC WA", ability="code"), equal).majority is None
    assert question_of(judged("AC AC"), equal).majority == 1.0


def test_a_benchmarks_own_name_and_level_are_kept():
    question = question_of(judged("AC", extra_info={"item": "abc1", "difficulty": "hard", "level": 5}))
    assert (question.item, question.group) == ("abc1", "hard")
    assert question_of(judged("AC", extra_info={"level": 5})).group == "5"
    assert question_of(judged("AC", extra_info={"difficulty": {"rating": 1}})).group is None
