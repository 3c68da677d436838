from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klear_train.advantage import group_advantages, why_no_signal

rewards_of_a_group = st.lists(st.one_of(st.none(), st.integers(-8, 8).map(lambda k: k / 8)), min_size=1, max_size=12)


def test_advantages_are_standardised_rewards() -> None:
    rewards = [1.0, -1.0, -1.0, -1.0]
    found = group_advantages(rewards)
    spread = statistics.stdev(rewards)
    assert found == pytest.approx([(r + 0.5) / spread for r in rewards], rel=1e-5)


def test_an_unscored_rollout_enters_neither_mean_nor_deviation_and_gets_none() -> None:
    with_unscored = group_advantages([1.0, None, -1.0, None, 0.5])
    without = group_advantages([1.0, -1.0, 0.5])
    assert with_unscored is not None
    assert without is not None
    assert [a for a in with_unscored if a is not None] == without
    assert [a is None for a in with_unscored] == [False, True, False, True, False]


@pytest.mark.parametrize(
    ("rewards", "reason"),
    [
        ([1.0, 1.0, 1.0], "all_equal"),
        ([0.3, None, 0.3], "all_equal"),
        ([None, None], "too_few_scored"),
        ([None, 1.0], "too_few_scored"),
        ([-1.0], "too_few_scored"),
    ],
)
def test_a_group_without_two_different_scored_rewards_has_no_signal_and_says_why(
    rewards: list[float | None], reason: str
) -> None:
    assert group_advantages(rewards) is None
    assert why_no_signal(rewards) == reason


def test_without_scaling_an_advantage_is_the_reward_above_the_mean() -> None:
    assert group_advantages([1.0, 0.0, 0.5, None], scale="none") == pytest.approx([0.5, -0.5, 0.0, None])


@given(rewards_of_a_group)
def test_advantages_sum_to_zero_and_rank_like_rewards(rewards: list[float | None]) -> None:
    found = group_advantages(rewards)
    if found is None:
        return
    pairs = [(r, a) for r, a in zip(rewards, found, strict=True) if r is not None and a is not None]
    assert sum(a for _, a in pairs) == pytest.approx(0, abs=1e-6)
    assert all((a < b) == (r < s) for r, a in pairs for s, b in pairs if r != s)


def test_leave_one_out_compares_with_the_mean_of_the_others() -> None:
    found = group_advantages([1.0, 0.0, 0.5], scale="none", baseline="leave_one_out")
    assert found == pytest.approx([1 - 0.25, 0 - 0.75, 0.5 - 0.5])
