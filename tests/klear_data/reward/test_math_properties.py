"""Properties that hold for every answer: equal to itself in any spelling, never after one digit changes."""

from __future__ import annotations

import re

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from klear_data.reward.math import gold_problem, verify_answer

INTEGERS = st.integers(min_value=-(10**12), max_value=10**12)
POSITIVE = st.integers(min_value=2, max_value=9999)


def leaf() -> st.SearchStrategy[str]:
    return st.one_of(
        INTEGERS.map(str),
        st.tuples(POSITIVE, POSITIVE).map(lambda p: f"\\frac{{{p[0]}}}{{{p[1]}}}"),
        POSITIVE.map(lambda n: f"\\sqrt{{{n}}}"),
        st.tuples(POSITIVE, POSITIVE).map(lambda p: f"{p[0]}\\sqrt{{{p[1]}}}"),
        st.tuples(INTEGERS, POSITIVE).map(lambda p: f"{p[0]}.{p[1]}"),
        POSITIVE.map(lambda n: f"\\frac{{{n}\\pi}}{{7}}"),
        st.tuples(POSITIVE, POSITIVE).map(lambda p: f"{p[0]}+{p[1]}i"),
        st.tuples(POSITIVE, st.integers(2, 9)).map(lambda p: f"{p[0]}x^{{{p[1]}}}+3"),
    )


def answers() -> st.SearchStrategy[str]:
    two = st.tuples(leaf(), leaf())
    return st.one_of(
        leaf(),
        two.map(lambda p: f"({p[0]}, {p[1]})"),
        two.map(lambda p: f"\\{{{p[0]}, {p[1]}, 8^{{20}}\\}}"),
        two.map(lambda p: f"\\begin{{pmatrix}}{p[0]} & {p[1]} \\\\ 1 & 0\\end{{pmatrix}}"),
        leaf().map(lambda t: f"x = {t}"),
        POSITIVE.map(lambda n: f"x \\ge {n}"),
        st.tuples(POSITIVE, POSITIVE).map(lambda p: f"(-\\infty, {p[0]}] \\cup ({p[0] + p[1]}, \\infty)"),
    )


REWRITINGS = [
    lambda t: f" {t} ",
    lambda t: f"${t}$",
    lambda t: f"\\({t}\\).",
    lambda t: f"\\displaystyle {t}",
    lambda t: f"\\boxed{{{t}}}",
    lambda t: t.replace("\\frac", "\\dfrac"),
    lambda t: t.replace("-", "−"),
    lambda t: t.replace("+", " + ").replace("=", " = "),
    lambda t: t.replace("(", "\\left(").replace(")", "\\right)") if t.count("(") == t.count(")") else t,
    lambda t: t.translate(str.maketrans("0123456789", "０１２３４５６７８９")),
    lambda t: t.replace(", ", " ,\\;"),
]


@settings(max_examples=150, deadline=None)
@given(answers(), st.sampled_from(REWRITINGS), st.sampled_from(REWRITINGS))
def test_an_answer_equals_itself_in_any_spelling(answer, first, second):
    assert gold_problem(answer) is None
    assert verify_answer(answer, second(first(answer))).verdict == "AC"


@settings(max_examples=250, deadline=None)
@given(answers(), st.data())
def test_an_answer_never_equals_itself_after_one_digit_changes(answer, data):
    spots = [m.start() for m in re.finditer(r"\d", answer)]
    spot = data.draw(st.sampled_from(spots))
    digit = data.draw(st.sampled_from([d for d in "123456789" if d != answer[spot]]))
    changed = answer[:spot] + digit + answer[spot + 1 :]
    assume(not re.search(r"sqrt\{1\}|\{0", changed))
    assert verify_answer(answer, changed).verdict == "WA"


@settings(max_examples=100, deadline=None)
@given(INTEGERS)
def test_thousands_separators_do_not_change_a_number(value):
    assert verify_answer(str(value), f"{value:,}").verdict == "AC"
    assert verify_answer(f"{value:,}", f"{value:,}".replace(",", "\\,")).verdict == "AC"


@settings(max_examples=100, deadline=None)
@given(st.integers(-999, 999), st.integers(1, 12), st.integers(0, 8))
def test_a_rounded_decimal_is_not_the_fraction(top, bottom, places):
    assume(round(top / bottom, places) * bottom != top)
    assume((top * 10**places) % bottom)
    assert verify_answer(f"\\frac{{{top}}}{{{bottom}}}", f"{top / bottom:.{places}f}").verdict == "WA"


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60), st.sampled_from(["5", "(1,2)", "x>5", "\\text{yes}", "\\sqrt{2}"]))
def test_any_text_gets_a_verdict(text, gold):
    assert verify_answer(gold, text).verdict in ("AC", "WA", "NA", "TL")


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="\\{}()[]^_$%&,.;|frac sqrtbegindpmx0123456789+-=<>\n", max_size=80))
def test_any_scramble_of_latex_gets_a_verdict(text):
    assert verify_answer("x^2+1", text).verdict in ("AC", "WA", "NA", "TL")
