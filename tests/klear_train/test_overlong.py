from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klear_train.advantage import group_advantages
from klear_train.overlong import soft_overlong_penalty, without_cut_off


def dapo_eq_13(length: int, longest: int, cache: int) -> float:
    """The case table of arXiv 2503.14476."""
    if length <= longest - cache:
        return 0.0
    if length <= longest:
        return ((longest - cache) - length) / cache
    return -1.0


@given(st.integers(0, 300), st.integers(1, 200), st.data())
def test_the_penalty_is_the_case_table_s(length: int, longest: int, data) -> None:
    cache = data.draw(st.integers(1, longest))
    found = soft_overlong_penalty(length, max_tokens=longest, buffer_tokens=cache)
    assert found == pytest.approx(dapo_eq_13(length, longest, cache))


@pytest.mark.parametrize("buffer_tokens", [0, -1, 101])
def test_a_buffer_that_is_none_is_refused(buffer_tokens: int) -> None:
    with pytest.raises(ValueError, match="buffer_tokens"):
        soft_overlong_penalty(5, max_tokens=100, buffer_tokens=buffer_tokens)


def test_the_filter_on_rewards_takes_cut_off_responses_out_of_the_mean_and_on_advantages_leaves_them_in() -> None:
    rewards, cut_off = [1.0, -1.0, -1.0, 0.0], [False, False, True, False]
    out_of_the_mean = group_advantages(without_cut_off(rewards, cut_off), scale="none")
    assert out_of_the_mean == [1.0, -1.0, None, 0.0]
    in_the_mean = without_cut_off(group_advantages(rewards, scale="none") or [], cut_off)
    assert in_the_mean == [1.25, -0.75, None, 0.25]


def test_values_and_marks_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        without_cut_off([1.0], [])
