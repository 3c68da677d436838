from __future__ import annotations

import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from klear_train.packing import PADDING, Example, collate, pack


@given(st.lists(st.integers(1, 50), max_size=80), st.integers(50, 120))
def test_every_sequence_is_packed_once_and_no_bin_overflows(lengths: list[int], capacity: int) -> None:
    bins = pack(lengths, capacity)
    assert sorted(index for packed in bins for index in packed) == list(range(len(lengths)))
    assert all(sum(lengths[index] for index in packed) <= capacity for packed in bins)


def test_long_tailed_lengths_fill_more_than_98_percent() -> None:
    rng = random.Random(0)
    lengths = [min(4096, int(rng.lognormvariate(6.5, 1.0)) + 1) for _ in range(2000)]
    bins = pack(lengths, 4096)
    assert sum(lengths) / (4096 * len(bins)) > 0.98


def test_a_sequence_longer_than_a_row_is_refused() -> None:
    with pytest.raises(ValueError, match="sequence 1 has 9 tokens; expected at most 8"):
        pack([3, 9], 8)


def examples() -> list[Example]:
    return [Example([10, 11, 12], [False, True, True]), Example([20, 21, 22, 23], [False, False, True, True])]


def test_a_batch_predicts_each_trained_token_from_the_position_before_it() -> None:
    batch = collate(examples(), [[1], [0]], length=4, pad_id=0)
    assert batch.input_ids_BT.tolist() == [[20, 21, 22, 23], [10, 11, 12, 0]]
    flat = batch.input_ids_BT.flatten()
    assert batch.targets_N.tolist() == [22, 23, 11, 12]
    assert flat[batch.predictors_N].tolist() == [21, 22, 10, 11]
    assert batch.sequence_N.tolist() == [1, 1, 0, 0]


def test_positions_restart_and_attention_stays_within_a_sequence() -> None:
    batch = collate(examples(), [[0, 1]], length=9, pad_id=0)
    assert batch.position_ids_BT[0, :7].tolist() == [0, 1, 2, 0, 1, 2, 3]
    seen = batch.attention_mask_B1TT()[0, 0]
    assert seen[3].tolist() == [False, False, False, True, False, False, False]
    assert seen[6].tolist() == [False, False, False, True, True, True, True]
    assert batch.fill == 1.0, "rows are cut to the fullest one"


def test_padding_belongs_to_no_sequence() -> None:
    batch = collate(examples(), [[1], [0]], length=4, pad_id=0)
    assert batch.documents_BT[1].tolist() == [0, 0, 0, PADDING]
    assert batch.fill == 7 / 8


def test_rows_of_values_line_up_with_their_sequences() -> None:
    batch = collate(examples(), [[1, 0]], length=7, pad_id=0)
    rows = batch.rows_SL(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert rows.tolist() == [[3.0, 4.0], [1.0, 2.0]]
