"""The kernels compute what the definition says, on any text."""

import doctest
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from klear_data import near_dup
from klear_data.near_dup import definition, lsh
from klear_data.near_dup.definition import NUMBER_WORDS, jaccard, near_duplicates, numbers, same_numbers, shingles
from klear_data.text import normalise

PIECES = [
    "tom", "apple", "has", "x", "x_1", "3x", "one", "twenty", "half", "3", "7", "12", "000", "1,000", "3.5", ".", ",",
    "-", "--", "−", "–", "+", " ", " ", " ", "?", "剪", "二", "米", "カ", "é",
    "*", "×", "/", "÷", "^", "%", "!", "<", "=", "√", "٣", "١,٢٣٤", "\u0301", "𝔘", "\ud800", "(", "a-b",
]  # fmt: skip
texts = st.lists(st.sampled_from(PIECES), max_size=12).map(lambda pieces: normalise("".join(pieces)))


def sketched(batch):
    """(shingle set, multiset, order, around) of each text as the kernels see it."""
    import numpy as np

    from klear_data.near_dup.kernels import Numbers, code_points, make_tables, sketch

    points, ends = code_points(batch)
    values, value_ends = np.empty(points.size, dtype=np.uint64), np.empty(len(batch), dtype=np.int64)
    found = Numbers(*(np.empty(len(batch), dtype=np.uint64) for _ in range(3)))
    sketch(points, ends, make_tables(), values, value_ends, found)
    starts = [0, *value_ends[:-1]]
    sets = [frozenset(values[start:end].tolist()) for start, end in zip(starts, value_ends, strict=True)]
    return list(zip(sets, found.multiset.tolist(), found.order.tolist(), found.around.tolist(), strict=True))


@settings(deadline=None)  # the first call loads the kernels
@given(st.lists(texts, min_size=2, max_size=6))
def test_kernels_see_the_shingles_and_numbers_of_the_definition(batch):
    seen = sketched(batch)
    for one, (set_one, multiset_one, order_one, _) in zip(batch, seen, strict=True):
        for two, (set_two, multiset_two, order_two, _) in zip(batch, seen, strict=True):
            assert len(set_one & set_two) == len(shingles(one) & shingles(two))
            assert len(set_one | set_two) == len(shingles(one) | shingles(two))
            assert (order_one == order_two) == (numbers(one) == numbers(two)), (one, two)
            assert (multiset_one == multiset_two) == (sorted(numbers(one)) == sorted(numbers(two)))


@settings(deadline=None)  # the first call loads the kernels
@given(texts, texts)
def test_kernels_agree_on_numbers_that_moved(one, two):
    (_, multiset_one, order_one, around_one), (_, multiset_two, order_two, around_two) = sketched([one, two])
    agree = multiset_one == multiset_two and (order_one == order_two or around_one == around_two)
    assert agree == same_numbers(one, two)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("tom has 3 apples", "tom has 4 apples"),
        ("tom has three apples", "tom has four apples"),
        ("tom has twenty apples", "tom has twenty-one apples"),
        ("compute sin(-60)", "compute sin 60"),
        ("sum of (2n + 1)/n", "sum of (2n − 1)/n"),
        ("3 apples and 5 pears", "5 apples and 3 pears"),
        ("the point (1,2)", "the point (2,1)"),
        ("it costs 3.5 coins", "it costs 5.3 coins"),
        ("一共二十三人", "一共三十二人"),
        ("find x_1", "find x_2"),
        ("take half of it", "take a quarter of it"),
        ("what is 12 * 4?", "what is 12 / 4?"),
        ("compute 7 × 8", "compute 7 ÷ 8"),
        ("evaluate 2^3", "evaluate 2*3"),
        ("what is 5!?", "what is 5?"),
        ("find 20% of 50", "find 20 of 50"),
        ("solve x < 3", "solve x > 3"),
        ("solve x >= 3", "solve x <= 3"),
        ("find √16", "find 16"),
    ],
)
def test_these_differ_in_a_number(one, two):
    assert not same_numbers(one, two)
    assert sketched([one])[0][1:] != sketched([two])[0][1:]


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("tom has 3 apples", "tom has three apples"),
        ("it costs 1,000 coins", "it costs 1000 coins"),
        ("a two-digit number - find it", "a two digit number --- find it"),
        ("x − 3", "x - 3"),
        ("what is 12 × 4?", "what is 12*4?"),
        ("find **3** apples and/or pears!", "find 3 apples and or pears"),
        ("tom has 3 red apples. how many can 5 men eat?", "how many can 5 men eat? tom has 3 red apples."),
        ("now he ran 3 long miles. then some 5 men left.", "then some 5 men left. now he ran 3 long miles."),
    ],
)
def test_these_numbers_agree(one, two):
    assert same_numbers(one, two)


def test_short_texts_are_defined():
    assert shingles("") == shingles("?!") == frozenset()
    assert jaccard("", "") == jaccard("", "x") == 0.0
    assert jaccard("find x", "find x!") == 1.0
    assert jaccard("find x", "find") == 0.0
    assert not near_duplicates("?", "?", threshold=0.5)


def test_every_number_word_is_one_token():
    assert [word for word in NUMBER_WORDS if shingles(word) != {(word,)}] == []
    assert all(re.fullmatch(r"\d+|\D+", value) for value in NUMBER_WORDS.values())


@pytest.mark.parametrize("module", [near_dup, definition, lsh])
def test_examples_in_docstrings(module):
    assert doctest.testmod(module).failed == 0
