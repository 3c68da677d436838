"""Verdicts, extraction and gold answers: what klear.reward.math promises."""

from __future__ import annotations

import json

import pytest

from klear_data.reward.math import MathRewarder, gold_problem, verify_answer, verify_response
from klear_data.reward.mathcheck.decide import gold_forms
from klear_data.reward.mathcheck.extract import boxed_answer, final_answer

THINK = "<think>let me see \\boxed{99}</think>\n"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("so \\boxed{5}.", "5"),
        ("\\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
        ("\\boxed{4}. No: \\boxed{5}", "5"),
        ("\\boxed{2} and \\boxed{3}", "2, 3"),
        ("$\\boxed{2}$, $\\boxed{3}$", "2, 3"),
        ("$x=\\boxed{2}$ or $x=\\boxed{3}$", "2, 3"),
        ("\\boxed{5} \\boxed{5}", "5"),
        ("\\boxed{4} then \\boxed{5", "4"),
        ("\\boxed{\\{1, 2\\}}", "\\{1, 2\\}"),
        ("\\boxed{\\left\\{1\\right.}", "\\left\\{1\\right."),
        ("$\\boxed 5$", "5"),
        ("\\fbox{7}", "7"),
        ("\\boxed{\\boxed{8}}", "\\boxed{8}"),
        ("no box", None),
        ("\\boxed{5", None),
    ],
)
def test_the_last_closed_box_is_the_answer(text, answer):
    assert boxed_answer(text) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Answer: 73", "73"),
        ("**Final Answer:** **73**", "73"),
        ("The answer is $$42$$", "42"),
        ("so we get $x=4$ and hence $y=5$", "y=5"),
        ("答案：12", "12"),
        ("I do not know", None),
        ("there are 42 of them", None),
    ],
)
def test_an_answer_without_a_box_is_found_only_on_request(text, answer):
    assert final_answer(text, fallback=True) == answer
    assert final_answer(text) is None


def test_a_box_inside_the_thoughts_is_no_answer():
    assert verify_response("99", THINK + "I give up.").verdict == "NA"
    assert verify_response("5", THINK + "\\boxed{5}").verdict == "AC"


@pytest.mark.parametrize(
    ("response", "think", "verdict", "missing"),
    [
        ("\\boxed{5}", "full", "FE", "open"),
        ("<think>\\boxed{5}", "full", "FE", "close"),
        ("x</think>\\boxed{5}", "closing", "AC", None),
        ("\\boxed{5}", "closing", "FE", "close"),
        ("\\boxed{5}", "none", "AC", None),
        ("<think>a</think>b</think>\\boxed{5}", "full", "AC", None),
    ],
)
def test_missing_tags_are_a_format_error(response, think, verdict, missing):
    found = verify_response("5", response, think=think)
    assert (found.verdict, found.missing, found.format_ok) == (verdict, missing, missing is None)


@pytest.mark.parametrize("answer", ["5 or 6", "5, 6", "\\{5,6\\}", "5 \\text{ and } 6", "5 \\text{ or more}", "4,5,6"])
def test_a_hedged_answer_is_wrong(answer):
    assert verify_answer("5", answer).verdict == "WA"


@pytest.mark.parametrize("answer", ["", "   ", None, 5, 5.0, b"5", ["5"], "\x00", "$$"])
def test_an_answer_that_is_no_text_is_no_answer(answer):
    assert verify_answer("5", answer).verdict in ("NA", "WA")
    assert verify_answer("5", answer).verdict == "NA" or isinstance(answer, str)


@pytest.mark.parametrize("response", [None, 5, b"\\boxed{5}", ["\\boxed{5}"]])
def test_a_response_that_is_no_text_has_no_answer(response):
    assert verify_response("5", response).verdict == "NA"


def test_a_megabyte_in_the_box_is_compared_and_no_more():
    assert verify_answer("5", "7" * 1_000_000).verdict == "WA"
    found = verify_response("5", THINK + "\\boxed{" + "x+" * 500_000 + "}")
    assert found.verdict == "WA"
    assert found.cpu_ms < 1_000


@pytest.mark.parametrize(
    "gold",
    ["", "  ", None, 5, "\\frac{1", "\\frac{1}{0}", "\\notacommand{3}", "}{", "x" * 20_000, [], ["5", "\\frac{1"]],
)
def test_a_gold_that_cannot_be_read_is_named_and_never_a_reward(gold):
    problem = gold_problem(gold)
    assert problem is not None
    assert problem.startswith("gold_unparseable")
    with MathRewarder(think="none") as rewarder:
        scored = rewarder.reward_one(gold, "\\boxed{5}")
    assert scored["verdict"] == "XX"
    assert scored["reward"] is None


@pytest.mark.parametrize(
    "gold",
    ["5", "\\frac{1}{2}", "(1,2)", "x>3", "\\text{Monday}", "\\text{(C)}", "1, 2, \\ldots, n", "\\pm 2", "204_5",
     "4:30",     "\\begin{pmatrix}1\\\\2\\end{pmatrix}", "\\sum_{k=1}^{n} a_k", "[1,2]", "无解", "\\$5.50", "9^{9^9}"],
)  # fmt: skip
def test_a_gold_that_can_be_read_has_no_problem(gold):
    assert gold_problem(gold) is None


def test_a_json_list_of_strings_is_a_list_of_accepted_forms():
    gold = json.dumps(["\\frac{1}{2}", "50\\%", "half"])
    assert [verify_answer(gold, a).verdict for a in ("0.5", "half", "2")] == ["AC", "AC", "WA"]
    assert verify_answer(["1", "2"], "2").verdict == "AC"


def test_a_mathematical_list_is_no_list_of_forms():
    mixed = '["1", 2, "3"]'
    assert gold_forms(mixed) == (mixed,)
    assert verify_answer("[1,2]", "1").verdict == "WA"
    assert verify_answer("[1,2]", "1 \\le x \\le 2").verdict == "AC"


@pytest.mark.parametrize(
    ("gold", "answer", "stage"),
    [
        ("5", "5", "string"),
        ("5", "5.0", "number"),
        ("A", "(A)", "choice"),
        ("\\sqrt{12}", "2\\sqrt{3}", "value"),
        ("1,2", "2,1", "structure"),
        ("55", "\\sum_{k=1}^{10} k", "sympy"),
    ],
)
def test_the_stage_says_which_check_decided(gold, answer, stage):
    found = verify_answer(gold, answer)
    assert (found.verdict, found.stage) == ("AC", stage)
    assert found.answer == answer


def test_a_verdict_is_remembered():
    with MathRewarder() as rewarder:
        first = rewarder.verify_answer("\\sqrt{2}+\\sqrt{3}", "\\sqrt{5+2\\sqrt{6}}")
        again = rewarder.verify_answer("\\sqrt{2}+\\sqrt{3}", "\\sqrt{5+2\\sqrt{6}}")
    assert first.verdict == again.verdict == "AC"
    assert first.cpu_ms > 0
    assert again.cpu_ms == 0


@pytest.mark.parametrize(
    ("scheme", "completion", "reward"),
    [
        ("paper", "<think>a</think>\\boxed{5}", 1.0),
        ("paper", "<think>a</think>\\boxed{6}", -1.0),
        ("paper", "<think>a</think>", -1.0),
        ("official", "a</think>\\boxed{5}", -2.0),
        ("official", "<think>\\boxed{5}", -0.5),
        ("binary", "<think>a</think>\\boxed{6}", 0.0),
    ],
)
def test_the_scheme_turns_a_verdict_into_a_reward(scheme, completion, reward):
    with MathRewarder(scheme=scheme) as rewarder:
        assert rewarder.reward_one("5", completion)["reward"] == reward
