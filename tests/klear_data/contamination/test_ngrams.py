"""Runs of tokens: the kernel finds exactly what the plain rule finds."""

import doctest
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from klear_data.contamination import kernels, ngrams
from klear_data.contamination.ngrams import Finder, runs_of
from klear_data.contamination.tokens import tokeniser

WORDS = tokeniser("words")


def finder(*texts, n=3, rule=WORDS):
    runs = {}
    for text in texts:
        for run in runs_of(rule.tokens(text), n):
            runs.setdefault(run, len(runs))
    return Finder([runs], rule)


def test_every_place_of_every_run_is_found():
    (finds,) = finder("a b c d").find_plain(["x", "z a b c d y b c d", "a b"])
    assert finds == {1: [(1, 0), (2, 1), (6, 1)]}


def test_sets_of_runs_are_told_apart():
    both = Finder([{("a", "b"): 0}, {}, {("b", "c", "d"): 5}], WORDS)
    assert both.find_plain(["a b c d"]) == both.find_fast(["a b c d"]) == [{0: [(0, 0)]}, {}, {0: [(1, 5)]}]


TEXT = st.lists(st.sampled_from(["a", "b", "c", "1", "é", "剪", "剪去", ",", "\\a", "𝔘", "-"]), max_size=30).map(
    " ".join
)


@pytest.mark.parametrize("name", ["words", "whitespace", "latex"])
@settings(deadline=None)  # the first call loads the kernel
@given(items=st.lists(TEXT, max_size=6), texts=st.lists(TEXT, max_size=6), n=st.integers(2, 5))
def test_the_kernel_agrees_with_the_plain_rule(name, items, texts, n):
    index = finder(*items, n=n, rule=tokeniser(name))
    assert index.find_fast(texts) == index.find_plain(texts)


def test_many_texts_against_many_runs_agree_too():
    draw = random.Random(0)
    vocabulary = [f"w{number}" for number in range(30)]
    items, texts = ([" ".join(draw.choices(vocabulary, k=40)) for _ in range(800)] for _ in range(2))
    index = finder(*items)
    plain = index.find_plain(texts)
    assert index.find_fast(texts) == plain
    assert len(plain[0]) > 400
    assert sum(map(len, plain[0].values())) > 15_000


def test_a_collision_of_hashes_accuses_nobody(monkeypatch):
    index = finder("a b c")
    real = kernels.find
    monkeypatch.setattr(kernels, "find", lambda texts, table: tuple(found + 1 for found in real(texts, table)))
    # Now the kernel points at the next text and the next token, where no run begins.
    assert index.find_fast(["a b c d", "x y z d"]) == [{}]


def test_few_texts_do_without_the_kernel(monkeypatch):
    index = finder("a b c")
    monkeypatch.setattr(index, "find_fast", lambda texts: [{7: []}])
    monkeypatch.setattr(ngrams, "PLAIN_UP_TO", 3)
    assert index.find_many(["a b c"] * 3) == [{text: [(0, 0)] for text in range(3)}]
    assert index.find_many(["a b c"]) == [{7: []}]


def test_no_runs_and_no_texts_find_nothing():
    assert finder().find_fast(["a b c"]) == finder().find_plain(["a b c"]) == [{}]
    assert finder("a b c").find_fast([]) == finder("a b c").find_plain([]) == [{}]


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(ngrams).failed == 0
