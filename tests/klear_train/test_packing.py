from __future__ import annotations

import random
import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from klear_train.packing import Example, collate, pack


@given(st.lists(st.integers(1, 50), max_size=80), st.integers(50, 120))
def test_every_sequence_is_packed_once_and_no_bin_overflows(lengths: list[int], capacity: int) -> None:
    bins = pack(lengths, capacity)
    assert sorted(index for packed in bins for index in packed) == list(range(len(lengths)))
    assert all(sum(lengths[index] for index in packed) <= capacity for packed in bins)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=80), st.randoms())
def test_each_sequence_goes_where_the_least_room_is_left_and_order_decides_nothing(lengths, rng) -> None:
    free: list[int] = []
    for length in sorted(lengths, reverse=True):
        fitting = [room for room in free if room >= length]
        if fitting:
            free.remove(min(fitting))
        free.append((min(fitting) if fitting else 60) - length)
    bins = pack(lengths, 60)
    assert sorted(60 - sum(lengths[i] for i in packed) for packed in bins) == sorted(free)
    shuffled = rng.sample(lengths, len(lengths))
    assert len(pack(shuffled, 60)) == len(bins)


def test_long_tailed_lengths_fill_more_than_98_percent() -> None:
    rng = random.Random(0)
    lengths = [min(4096, int(rng.lognormvariate(6.5, 1.0)) + 1) for _ in range(2000)]
    bins = pack(lengths, 4096)
    assert sum(lengths) / (4096 * len(bins)) > 0.98


def test_packing_a_large_data_set_takes_seconds() -> None:
    lengths = np.minimum(32768, np.random.default_rng(0).lognormal(8.8, 0.8, 200_000).astype(int) + 1)
    began = time.process_time()
    bins = pack(lengths, 32768)
    assert time.process_time() - began < 10
    assert lengths.sum() / (32768 * len(bins)) > 0.98


def test_a_sequence_longer_than_a_row_is_refused() -> None:
    with pytest.raises(ValueError, match="sequence 1 has 9 tokens; expected at most 8"):
        pack([3, 9], 8)


def examples() -> list[Example]:
    arrays = np.array([20, 21, 22, 23], np.int32), np.array([False, False, True, True])
    return [Example(*arrays), Example([10, 11, 12], [False, True, True])]


def test_a_batch_has_no_padding_and_positions_restart_with_every_sequence() -> None:
    batch = collate(examples())
    assert batch.input_ids_T.tolist() == [20, 21, 22, 23, 10, 11, 12]
    assert batch.position_ids_T.tolist() == [0, 1, 2, 3, 0, 1, 2]
    assert batch.documents.offsets.tolist() == [0, 4, 7]
    assert (batch.documents.lengths, batch.documents.longest) == ((4, 3), 4)
    assert (batch.num_tokens, batch.num_sequences) == (7, 2)


def test_a_batch_predicts_each_trained_token_from_the_position_before_it() -> None:
    batch = collate(examples())
    assert batch.targets_N.tolist() == [22, 23, 11, 12]
    assert batch.input_ids_T[batch.predictors_N].tolist() == [21, 22, 10, 11]
    assert batch.sequence_N.tolist() == [0, 0, 1, 1]
    assert batch.ordinal_N.tolist() == [0, 1, 0, 1]
    assert [example.num_trained for example in examples()] == [2, 2]


def test_rows_of_values_line_up_with_their_sequences() -> None:
    batch = collate([*examples(), Example([1, 2], [False, False]), Example([1, 2], [False, True])])
    rows = batch.rows_SL(torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]))
    assert rows.tolist() == [[1.0, 2.0], [3.0, 4.0], [0.0, 0.0], [5.0, 0.0]]


@pytest.mark.parametrize("wrong", [[], [Example([], [])], [Example([1, 2], [True, False])]])
def test_what_nothing_predicts_is_refused(wrong: list[Example]) -> None:
    with pytest.raises(ValueError, match="collate: "):
        collate(wrong)
