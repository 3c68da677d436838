"""What is no record is said before a stage trips over it."""

import pytest

from klear_data.records import problem_of, rewards_problem
from klear_data.rl_format import RlRules, rl_problem
from tests.cli.conftest import judged


@pytest.mark.parametrize("key", ["data_source", "extra_info", "curation", "sampling", "rollouts", "difficulty"])
@pytest.mark.parametrize("value", [7, True, [7], {"a": 7}, "text"])
def test_a_key_that_stages_look_into_has_its_type_or_the_record_is_none(key, value):
    kinds = {"data_source": str, "rollouts": list}
    problem = problem_of(judged(1, **{key: value}))
    if isinstance(value, kinds.get(key, dict)) and key != "rollouts":
        assert problem is None
    else:
        assert key in problem
    assert problem_of(judged(1, **{key: None})) is None


def test_a_message_shows_no_more_of_a_value_than_a_line_holds():
    assert len(problem_of(judged(1, ability="m" * 10**6))) < 200
    assert len(problem_of({"schema": ["m" * 10**6]})) < 200


@pytest.mark.parametrize("reward", [True, "1", [1], 10**400])
def test_a_reward_is_a_number_that_can_be_averaged(reward):
    record = judged(1)
    record["rollouts"][0]["reward"] = reward
    assert "rollouts[0].reward" in rewards_problem(record)


@pytest.mark.parametrize("rate", [True, "0.7", [0.7]])
def test_a_pass_rate_is_a_number_or_null(rate):
    assert "difficulty.pass_rate" in rl_problem(RlRules())(judged(1, difficulty={"pass_rate": rate}))
    assert rl_problem(RlRules())(judged(1, difficulty={"pass_rate": None})) is None
