"""What a token is, in plain Python and in the kernel."""

import doctest

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from klear_data.contamination import kernels, tokens
from klear_data.contamination.tokens import SKELETON, tokeniser
from klear_data.text import normalise

ALL = [tokeniser("words"), tokeniser("whitespace"), tokeniser("latex"), SKELETON]


def cut(name, text):
    rule = tokeniser(name)
    return rule.tokens(rule.prepare(normalise(text), text))


def test_words_are_alphanumeric_and_lower_case():
    assert cut("words", "Find $x_1^2$ — ÉTÉ, ｆｕｌｌ") == ["find", "x_1", "2", "été", "full"]


def test_whitespace_tokens_keep_case_and_punctuation():
    assert cut("whitespace", "Find $x$,\nBob!  ") == ["Find", "$x$,", "Bob!"]


@pytest.mark.parametrize(
    "spelling", [r"$\dfrac{x}{2} \leq 30^{\circ}$", r"\(\frac x2\le 30°\)", r"\[ \tfrac{x}{2} ≤ 30^\circ \]"]
)
def test_latex_tokens_are_those_of_every_spelling(spelling):
    assert cut("latex", spelling) == ["\\frac", "x", "2", "\\le", "30", "^", "\\circ"]


@pytest.mark.parametrize("name", ["words", "latex"])
def test_chinese_and_japanese_give_a_token_a_character(name):
    assert cut(name, "剪去6米 カナ") == ["剪", "去", "6", "米", "カ", "ナ"]


def test_the_skeleton_of_a_text_has_no_commands():
    assert SKELETON.tokens(r"find \frac{1}{2}x_1 + \sin3 π") == ["find", "1", "2", "x", "1", "3"]


@pytest.mark.parametrize("rule", ALL, ids=lambda rule: rule.name)
@settings(deadline=None)  # the first call loads the kernel
@given(text=st.text(max_size=40) | st.text(alphabet="ab1 2\\_+-剪aΩπé³.\n𝔘😀$x\ud800", max_size=40))
def test_the_kernel_cuts_any_text_into_the_same_tokens(rule, text):
    classes = kernels.classes_of(rule)
    expected = rule.tokens(text)
    hashes, starts = kernels.tokenise([text, *expected], classes)
    assert starts[1] == len(expected)
    assert hashes[: starts[1]].tolist() == hashes[starts[1] :].tolist()


def test_the_kernel_tells_a_command_from_a_word_where_the_tokeniser_does():
    latex, words = (
        kernels.tokenise(["\\pi", "pi"], kernels.classes_of(tokeniser(name)))[0].tolist() for name in ("latex", "words")
    )
    assert latex[0] != latex[1]
    assert words[0] == words[1]


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(tokens).failed == 0
