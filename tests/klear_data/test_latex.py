"""One spelling of LaTeX: what is only looks is dropped, what is content stays."""

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klear_data import latex
from klear_data.latex import canonical_latex, latex_tokens


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r"$\dfrac{1}{2}$", r"\(\frac12\)"),
        (r"\frac1{23}", r"\tfrac{1}{23}"),
        (r"\frac cd", r"\frac{c}{d}"),
        (r"\sqrt xy", r"\sqrt{x} y"),
        (r"\dbinom{31}{28}", r"\binom{31}{28}"),
        (r"\left( x \right)", "(x)"),
        (r"\left\{ x \right.", r"\{ x"),
        (r"\big| x \big|", "|x|"),
        ("$x$", r"\[x\]"),
        ("$$x$$", r"\(x\)"),
        ("\\begin{align*}x\\end{align*}", "x"),
        (r"x^{2}y_{1}", "x^2y_1"),
        ("x²", "x^2"),
        ("x⁻¹", "x^{-1}"),
        ("a₁₂", "a_{12}"),
        (r"5\text{ cm}", "5 cm"),
        (r"\mathrm{lcm}(a, b)", r"\operatorname{lcm}(a,b)"),
        (r"\text{two words}", "two words"),
        (r"\mathbb{R}", r"\mathbb R"),
        (r"a\,b\;c\!d\quad e\ f~g", "a b c d e f g"),
        (r"\hspace{2mm} a", "a"),
        (r"x \leq y \neq z", "x ≤ y ≠ z"),
        (r"90^{\circ}", "90°"),
        (r"90^\circ", r"90\degree"),
        (r"2\pi r", "2πr"),
        (r"\sqrt2", r"\sqrt{2}"),
        (r"\sqrt{x}", r"√{x}"),
        (r"\sin\theta", r"\mathrm{sin} θ"),
        (r"1,\ldots,n", "1,…,n"),
        (r"1,\dots,n", "1,...,n"),
        (r"50\%", "50%"),
        (r"\$5", "$5"),
        ("a − b", "a - b"),
        ("a  b\n\tc", "a b c"),
    ],
)
def test_spellings_of_one_thing_are_equal(one, other):
    assert canonical_latex(one) == canonical_latex(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("(a+b)c", "a+(bc)"),
        (r"\sqrt{x+1}", r"\sqrt{x}+1"),
        (r"x^{2y}", "x^2y"),
        (r"\frac{1}{23}", r"\frac{12}{3}"),
        (r"\frac{12}{3}", r"\frac{1}{2}3"),
        (r"\sin x", r"\cos x"),
        ("x < 1", r"x \le 1"),
        ("2.5", "25"),
        (r"\{1\}", "(1)"),
        ("Find x.", "find x."),
        ("x+1", "x-1"),
        (r"\Delta", r"\delta"),
    ],
)
def test_what_means_another_thing_stays_different(one, other):
    assert canonical_latex(one) != canonical_latex(other)


@given(st.text(alphabet="ab12 \\{}^_$()~·²₁π.", max_size=30))
def test_the_form_of_any_text_is_its_own_form(text):
    once = canonical_latex(text)
    assert canonical_latex(once) == once


def test_a_brace_too_few_or_too_many_is_a_token():
    assert latex_tokens("}x{") == ["}", "x", "{"]


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(latex).failed == 0
