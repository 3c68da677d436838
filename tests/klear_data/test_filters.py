"""Filters of single records: each names its reason and shows what it saw."""

import json

import pytest

from klear_data.filters import (
    ability_filter,
    answer_filter,
    gold_filter,
    has_gold,
    prompt_filter,
    suite_filter,
)


def record(gold="2", *, ability="math", prompt="1+1?"):
    return {
        "schema": "klear/1",
        "id": "0" * 16,
        "ability": ability,
        "prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": prompt}],
        "reward_model": {"style": "rule", "ground_truth": gold},
    }


def stdin_tests(count):
    return json.dumps({"inputs": ["1"] * count, "outputs": ["1"] * count})


@pytest.mark.parametrize("prompt", ["", " \n", "-"])
def test_a_prompt_without_a_question_is_empty_even_with_a_system_message(prompt):
    assert prompt_filter(record(prompt=prompt)).reason == "empty_prompt"
    assert prompt_filter(record()) is None


def test_an_ability_without_a_verifier_is_unsupported():
    rejection = ability_filter(record(ability="science"))
    assert (rejection.reason, rejection.evidence) == ("unsupported_ability", {"ability": "science"})
    assert ability_filter(record(ability="code")) is None


@pytest.mark.parametrize("gold", ["", "  ", "proof", "NotFound"])
def test_a_math_problem_without_an_answer_to_check_has_no_gold(gold):
    assert answer_filter(record(gold)).reason == "no_gold"
    assert answer_filter(record(gold, ability="code")).reason == "no_tests"
    assert not has_gold(record(gold))


@pytest.mark.parametrize("gold", ["0", "2", "\\text{none of these}"])
def test_a_gold_that_looks_like_nothing_is_a_gold(gold):
    assert answer_filter(record(gold)) is None


@pytest.mark.parametrize(("count", "reason"), [(15, "too_few_tests"), (16, None), (17, None)])
def test_code_problems_below_the_least_number_of_tests_go_with_their_count(count, reason):
    rejection = suite_filter(record(stdin_tests(count), ability="code"), min_tests=16)
    assert (rejection and rejection.reason) == reason
    if rejection:
        assert rejection.evidence == {"tests": 15, "min_tests": 16}


@pytest.mark.parametrize(
    ("gold", "reason"),
    [
        ('{"inputs": [], "outputs": []}', "no_tests"),
        ('{"inputs": ["1"], "outputs": []}', "tests_unequal"),
        ('{"cases": 3}', "tests_unsupported"),
        ("not json at all, nor Python", "tests_malformed"),
    ],
)
def test_tests_that_cannot_be_used_go_with_the_reason_the_sandbox_gives(gold, reason):
    rejection = suite_filter(record(gold, ability="code"), min_tests=1)
    assert rejection.reason == reason
    assert rejection.evidence["problem"]


def test_each_ability_has_its_own_check():
    assert suite_filter(record("no tests here at all"), min_tests=1) is None
    assert gold_filter(record(stdin_tests(1), ability="code")) is None


@pytest.mark.parametrize("gold", ["5", "\\frac{1}{2}", "(1,2)", "x+1"])
def test_golds_that_verify_against_themselves_stay(gold):
    assert gold_filter(record(gold)) is None


@pytest.mark.parametrize("gold", ["\\frac{1}{", "$"])
def test_golds_that_the_verifier_cannot_read_go_with_what_is_wrong(gold):
    rejection = gold_filter(record(gold))
    assert rejection.reason == "gold_unparseable"
    assert rejection.evidence["gold"] == gold
    assert rejection.evidence["problem"]
