"""Exact duplicates: who survives, what joins the survivor, and when nobody can be believed."""

import doctest

import pytest

from klear_data import dedup
from klear_data.dedup import Group, join, key_text, merged, same_gold, survivor_first
from klear_data.sources.catalog import UNRANKED, rank_of_source


def record(gold="2", *completions, model="teacher", ability="math"):
    made = {"id": "0" * 16, "ability": ability, "reward_model": {"style": "rule", "ground_truth": gold}}
    if completions:
        made["sampling"] = {"model": model, "backend": "source", "n": len(completions)}
        made["rollouts"] = [{"index": index, "completion": text} for index, text in enumerate(completions)]
    return made


def joined(first, *others):
    group = Group([0], 0 if first["reward_model"]["ground_truth"] else None)
    rows = [first]
    for number, other in enumerate(others, 1):
        reference = rows[group.reference_row]
        join(group, number, other, where=f"f:{number}", reference=reference, reference_where=f"f:{group.reference_row}")
        rows.append(other)
    return group


@pytest.mark.parametrize(
    ("left", "right"),
    [("2", " 2 "), ("A", "a"), ("\\dfrac{1}{2}", "\\frac12"), ("097", "97"), ("83^\\circ", "83"), ("(1,2)", "1,2")],
)
def test_golds_written_differently_are_the_same_whichever_comes_first(left, right):
    assert same_gold(left, right, ability="math")
    assert same_gold(right, left, ability="math")


@pytest.mark.parametrize(("left", "right"), [("2", "3"), ("1/2", "1/3"), ("(1,2)", "[1,2]")])
def test_golds_that_differ_are_not_the_same(left, right):
    assert not same_gold(left, right, ability="math")


def test_tests_are_compared_as_text_and_never_as_mathematics():
    assert not same_gold("1/2", "0.5", ability="code")


def test_two_answers_to_one_question_are_a_conflict_with_both_as_evidence():
    group = joined(record("2"), record("2"), record("3"))
    assert group.conflict == {"golds": ["2", "3"], "golds_where": ["f:0", "f:2"]}


def test_other_tests_for_the_same_task_are_no_conflict_and_bring_nothing():
    group = joined(record("{1}", ability="code"), record("{2}", "r", ability="code"))
    assert group.conflict is None
    assert group.merge_rows == set()


def test_a_row_without_a_gold_conflicts_with_none_and_the_first_gold_found_counts():
    group = joined(record(""), record("2"), record("3"))
    assert group.gold_row == 1
    assert group.conflict["golds"] == ["2", "3"]
    assert joined(record("2"), record("")).conflict is None


def test_a_survivor_without_a_gold_takes_its_duplicates():
    assert merged(record("", "r"), [record("2")])["reward_model"]["ground_truth"] == "2"
    assert merged(record("2"), [record("3")])["reward_model"]["ground_truth"] == "2"


def test_rollouts_of_duplicates_join_numbered_on_and_without_repeats():
    survivor = record("2", "a", "b")
    result = merged(survivor, [record("2", "b", "c"), record("2"), record("2", "c", "d")])
    assert [rollout["completion"] for rollout in result["rollouts"]] == ["a", "b", "c", "d"]
    assert [rollout["index"] for rollout in result["rollouts"]] == [0, 1, 2, 3]
    assert result["sampling"] == {"model": "teacher", "backend": "source", "n": 4}
    assert len(survivor["rollouts"]) == 2


def test_a_rollout_of_another_author_says_so():
    result = merged(record("2", "a"), [record("2", "b", model="student")])
    assert [rollout.get("model") for rollout in result["rollouts"]] == [None, "student"]
    assert result["sampling"]["model"] == "teacher"


def test_a_survivor_without_rollouts_takes_its_duplicates_with_their_author():
    result = merged(record("2"), [record("2", "a", model="student")])
    assert result["sampling"]["model"] == "student"
    assert [rollout["completion"] for rollout in result["rollouts"]] == ["a"]


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(dedup).failed == 0


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("Find $\\dfrac{1}{2}$.", "Find \\(\\frac12\\)."),
        ("If $x\\leq 3$", "if  $x \\le 3$"),
        ("$\\left(1\\right)$", "$(1)$"),
    ],
)
def test_prompts_in_another_spelling_of_latex_are_equal_on_request_only(left, right):
    assert key_text(left) != key_text(right)
    assert key_text(left, latex=True) == key_text(right, latex=True)


@pytest.mark.parametrize(("left", "right"), [("$x^2$", "$x^3$"), ("$(a+b)c$", "$a+(bc)$"), ("$x_1$", "$x_2$")])
def test_formulas_that_differ_are_other_problems_in_either_form(left, right):
    assert key_text(left) != key_text(right)
    assert key_text(left, latex=True) != key_text(right, latex=True)


def test_the_best_ranked_source_wins_and_among_equals_the_first():
    sources = ["mine", "DeepScaleR", "NuminaMath-1.5", "numinamath-1.5"]
    assert survivor_first(range(4), lambda row: rank_of_source(sources[row])) == [2, 3, 1, 0]
    assert survivor_first(range(4)) == [0, 1, 2, 3]
    assert rank_of_source("mine") == UNRANKED


def test_a_survivor_chosen_by_rank_brings_its_own_gold_and_takes_the_others_rollouts():
    rows = {0: record("", "a"), 1: record("2", "b"), 2: record("2", "c")}
    order = survivor_first(rows, {0: 3, 1: 2, 2: 1}.__getitem__)
    group = Group([order[0]], order[0])
    for number in order[1:]:
        join(group, number, rows[number], where="f", reference=rows[group.reference_row], reference_where="f")
    whole = merged(rows[order[0]], (rows[number] for number in order[1:]))
    assert whole["reward_model"]["ground_truth"] == "2"
    assert [rollout["completion"] for rollout in whole["rollouts"]] == ["c", "b", "a"]


def test_a_row_that_contradicts_the_survivor_brings_it_nothing():
    group = joined(record("2"), record("3", "r"), record("2", "s"))
    assert group.conflict is not None
    assert group.merge_rows == {2}
