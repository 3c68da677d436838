"""The filters that can be chosen: what each drops, what it leaves, and which are on."""

import doctest
import time
from pathlib import Path

import pytest

from klear_data.errors import UsageError
from klear_data.filters import (
    DEFAULTS,
    FILTERS,
    Bounds,
    FilterOptions,
    chosen,
    chosen_filters,
    language,
    leaks,
    length,
    parse_languages,
    row_filters,
)
from klear_data.filters.language import language_of
from klear_data.jsonl import Source
from klear_data.sources import to_record

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def record(prompt, gold="5", *, ability="math", **extra):
    return {
        "schema": "klear/1",
        "id": "0" * 16,
        "ability": ability,
        "prompt": [{"role": "system", "content": "See the figure below."}, {"role": "user", "content": prompt}],
        "reward_model": {"style": "rule", "ground_truth": gold},
        "extra_info": extra,
    }


def reason(name, *args, **kwargs):
    found = FILTERS[name].check(record(*args, **kwargs))
    assert found is None or found.evidence
    return found and found.reason


@pytest.mark.parametrize(
    "prompt",
    [
        "Solve it: ![](https://cdn.mathpix.com/cropped/x.jpg?height=1)",
        "Find x. <img src='a.png'>",
        "Find the area. \\includegraphics{a}",
        "As shown in the figure, ABC is a triangle. Find its area.",
        "In the diagram below, find x.",
        "In the diagram, $BP$ bisects $B$. Find it.",
        "The figure shows a square. What is its side?",
        "What is the shaded area (see the figure below)?",
        "Find the area of the region depicted in the picture.",
        "Refer to Figure 2. How many are there? See Figure 2.",
        "According to the table below, who won?",
        "如图，在△ABC中，求角A。",
        "根据下表回答。",
    ],
)
def test_a_problem_that_points_at_what_it_does_not_have_goes(prompt):
    assert reason("figure", prompt) == "figure_missing"


@pytest.mark.parametrize(
    "prompt",
    [
        "Figure out how many apples there are.",
        "In the diagram below, find x. [asy] draw((0,0)--(1,1)); [/asy]",
        "In the figure, find x. \\begin{tikzpicture}\\draw (0,0);\\end{tikzpicture}",
        "The table below lists prices. \\begin{tabular}{c}1\\end{tabular} Who won?",
        "The table below: | a | b |\n| 1 | 2 |",
        "The graph of $y = x^2$ is shifted. Where is its vertex?",
        "Draw the graph on graph paper: how many squares does it meet?",
        "He took pictures of 3 cats. How many legs?",
        "The balls are drawn at random. What is the probability of drawing 2 red ones?",
        "A scale drawing of a park shows 1 inch for 800 feet.",
        "Points A, B are placed as shown. Find AB if AC = 2.",
        "Let $G$ be a graph with 5 vertices.",
    ],
)
def test_a_problem_that_has_what_it_speaks_of_stays(prompt):
    assert reason("figure", prompt) is None


def test_statements_of_code_problems_may_speak_of_pictures():
    assert reason("figure", "See the figure below. ![](a.png)", ability="code") is None


@pytest.mark.parametrize(
    "prompt",
    [
        "Prove that $\\sqrt2$ is irrational.",
        "Let $n>1$. Show that $n^2 > n$.",
        "Give a proof: there is no largest prime. Justify each step."[17:],
        "证明：$a^2 \\ge 0$。",
    ],
)
def test_a_problem_that_asks_for_a_proof_only_goes(prompt):
    assert reason("proof", prompt) == "proof"


@pytest.mark.parametrize(
    "prompt",
    ["Find $x$ and prove that it is the only one.", "Show that n is even. What is n?", "Two sides are 3 and 4.",
     "Determine all $n$; justify your answer.", "The waterproof coat costs $5$."],
)  # fmt: skip
def test_a_problem_that_asks_for_an_answer_too_stays(prompt):
    assert reason("proof", prompt) is None


def test_what_the_source_calls_a_proof_or_a_choice_is_believed():
    assert reason("proof", "Find x.", question_type="proof") == "proof"
    assert reason("proof", "Find x.", question_type="math-word-problem") is None
    assert reason("multiple-choice", "Find x.", question_type="MCQ") == "multiple_choice"


@pytest.mark.parametrize(
    "prompt",
    [
        "What is 1+1?\n(A) 1 (B) 2 (C) 3 (D) 4",
        "$\\textbf{(A)}\\ 1 \\qquad \\textbf{(B)}\\ 2 \\qquad \\textbf{(C)}\\ 3 \\qquad \\textbf{(D)}\\ 4$",
        "Which of these is prime?\nA. 4\nB. 6\nC. 7",
        "1+1等于\nA．1\nB．2\nC．3\nD．4",
        "A) 4  B) 5  C) 6  D) 7: choose",
    ],
)
def test_options_that_follow_each_other_are_multiple_choice(prompt):
    assert reason("multiple-choice", prompt) == "multiple_choice"


@pytest.mark.parametrize(
    "prompt",
    [
        "Triangle ABC has a right angle at A. Point D is on BC. Let E be the foot from B. C. said so.",
        "How many satisfy (A) x > 1, (B) x < 9 and (C) x odd?",
        "Find AB. [asy] dot(A); dot(B); dot(C); dot(D); [/asy]",
        "(B) 1 (C) 2 (D) 3 (E) 4",
    ],
)
def test_letters_that_are_points_are_no_options(prompt):
    assert reason("multiple-choice", prompt) is None


@pytest.mark.parametrize(
    ("prompt", "gold"),
    [
        ("Find x. The answer is 5.", "5"),
        ("Find x. (Answer: $\\dfrac{1}{2}$)", "\\frac{1}{2}"),
        ("求x。答案：12", "12"),
        ("Compute it: \\boxed{7}", "7"),
        ("Show that the sum of the roots is $5$.", "5"),
        ("Prove that $x^2 + y^2 = 25$.", "25"),
        ("Find n.\nSolution: 144 is the value.", "144"),
    ],
)
def test_a_prompt_that_gives_its_answer_away_goes(prompt, gold):
    assert reason("leak", prompt, gold) == "answer_in_prompt"


@pytest.mark.parametrize(
    ("prompt", "gold"),
    [
        ("Tom has 5 apples and eats none. How many?", "5"),
        ("The answer is $\\frac{m}{n}$; find $m+n$.", "5"),
        ("If the answer is 5, enter 005.", "5"),
        ("The answer is 54.", "5"),
        ("The answer is 5.2 times as large.", "5"),
        ("Show that $x = 15$ and find $y$.", "5"),
        ("Find $x$ if $x + 3 = 5$.", "5"),
        ("Put your answer in \\boxed{}.", "5"),
        ("Put your answer in \\boxed{answer}.", "5"),
        ("The answer is x.", ""),
        ("Show that $f(n) = 5n$ for some f; what is f(1)?", "5"),
    ],
)
def test_a_number_that_merely_stands_in_the_text_is_no_leak(prompt, gold):
    assert reason("leak", prompt, gold) is None


def test_a_claim_that_continues_after_the_gold_is_no_leak():
    assert reason("leak", "Show that $x = 5$ is impossible; what is the least $x$?", "5") is None


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"problem_is_valid": "Yes", "solution_is_valid": "Yes"}, None),
        ({"problem_is_valid": "Incomplete", "solution_is_valid": "Yes"}, "problem_invalid"),
        ({"problem_is_valid": "Yes", "solution_is_valid": "Problem not solved"}, "solution_invalid"),
        ({"problem_is_valid": False}, "problem_invalid"),
        ({"problem_is_valid": None}, None),
        ({}, None),
    ],
)
def test_rows_that_their_source_calls_invalid_go(flags, expected):
    assert reason("validity", "Find x.", **flags) == expected


def test_drawings_and_links_go_on_request():
    assert reason("drawing", "Find x. [asy] draw(A); [/asy]") == "figure_in_code"
    assert reason("drawing", "Find x.") is None
    assert reason("link", "See https://example.org. Find x.") == "link"
    assert reason("link", "Find x.") is None


def first_rejection(filters, made):
    return next((found.reason for check in filters if (found := check(made)) is not None), None)


def test_length_is_counted_in_characters_or_tokens_and_the_system_message_is_not():
    options = FilterOptions(chars=Bounds(10, 20), tokens=Bounds(None, 6))
    filters = row_filters((), options)
    assert first_rejection(filters, record("x" * 9)) == "too_short"
    assert first_rejection(filters, record("x" * 10)) is None
    assert first_rejection(filters, record("x" * 21)) == "too_long"
    assert first_rejection(filters, record("1 2 3 4 5 6 7")) == "too_long"


@pytest.mark.parametrize("text", ["", ":", "10", "20:10", "a:b", "-1:2"])
def test_a_range_that_is_none_is_refused(text):
    with pytest.raises(UsageError, match="expected LEAST:MOST"):
        Bounds.parse(text, option="--chars")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("How many primes are there below $100$?", "en"),
        ("¿Cuántos números primos hay entre el 1 y el 100 que sean impares?", "es"),
        ("Combien de nombres premiers sont inférieurs à 100 et impairs dans la liste?", "fr"),
        ("Wie viele Primzahlen gibt es, die kleiner als 100 und ungerade sind?", "de"),
        ("Quantos números primos há entre 1 e 100 que não são pares?", "pt"),
        ("一件上衣的售价是480元，降价了多少元？", "zh"),
        ("一段の布から6メートルを切り取る。残りはいくらか。", "ja"),
        ("正三角形の面積を求める", "ja"),
        ("100보다 작은 소수는 몇 개입니까?", "ko"),
        ("Сколько простых чисел меньше 100?", "ru"),
        ("Let $x$ be ångström; find the number of α-rays that are in it.", "en"),
        ("$x+1=2$", "und"),
        ("Compute $3!$", "und"),
        ("设 $AB=5$，则 ABCD 的面积是多少", "zh"),
    ],
)
def test_languages_are_told_by_script_and_common_words(text, expected):
    assert language_of(text) == expected


def test_only_the_languages_asked_for_stay_and_what_can_not_be_told():
    filters = row_filters((), FilterOptions(languages=parse_languages("en, ZH", option="--languages")))
    assert first_rejection(filters, record("Combien de nombres sont dans la liste et pour qui?")) == "language"
    assert first_rejection(filters, record("How many of the numbers are in the list?")) is None
    assert first_rejection(filters, record("$x+1$")) is None
    with pytest.raises(UsageError, match="klingon"):
        parse_languages("en,klingon", option="--languages")


def test_filters_are_switched_on_and_off_by_name():
    assert chosen_filters() == DEFAULTS == tuple(name for name, entry in FILTERS.items() if entry.default)
    assert "multiple-choice" not in DEFAULTS
    assert chosen_filters(["multiple-choice"]) == tuple(n for n in FILTERS if n in (*DEFAULTS, "multiple-choice"))
    assert chosen_filters(["none", "proof"]) == ("proof",)
    assert chosen_filters(["all"], ["gold"]) == tuple(name for name in FILTERS if name != "gold")
    assert chosen_filters([], DEFAULTS) == ()


@pytest.mark.parametrize(("wanted", "unwanted"), [(["prof"], []), ([], ["none"]), ([], ["golds"])])
def test_an_unknown_filter_is_refused_with_the_names(wanted, unwanted):
    with pytest.raises(UsageError, match="expected some of validity, figure"):
        chosen_filters(wanted, unwanted)


def test_no_choice_drops_what_no_run_can_use():
    assert first_rejection(row_filters((), FilterOptions()), record("-")) == "empty_prompt"
    few = record("p", '{"inputs": ["1"], "outputs": ["1"]}', ability="code")
    assert first_rejection(row_filters((), FilterOptions(min_tests=2)), few) == "too_few_tests"


PIECES = [" ", "A  ", "| ", "\\[", "\\(", "$", "in the ", "prove that ", "answer: 1 ", "[asy]", "\t", "![", "http://"]


@pytest.mark.parametrize("piece", PIECES)
def test_no_prompt_takes_a_filter_long(piece):
    made = record("figure answer \\boxed{} A B which of prove that image " + piece * (100_000 // len(piece)))
    filters = [entry.check for name, entry in FILTERS.items() if name != "gold"]
    filters += row_filters((), FilterOptions(languages=("en",), tokens=Bounds(1, 9)))
    start = time.process_time()
    for check in filters:
        check(made)
    assert time.process_time() - start < 5  # a tenth of a second; quadratic ones took minutes


@pytest.mark.parametrize("module", [chosen, language, leaks, length])
def test_the_examples_in_the_docstrings_hold(module):
    result = doctest.testmod(module)
    assert result.attempted
    assert not result.failed


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real data is not at hand")
@pytest.mark.parametrize(
    ("file", "drops"),
    [
        ("math/gsm8k_train.jsonl", 0),
        ("math/rllm_math.json", 1),
        ("math/rllm_aime.json", 11),
        ("math/mwp_math23k_testset.json", 0),
        ("code/rllm_leetcode.json", 0),
    ],
)
def test_on_real_problems_the_defaults_drop_little(file, drops):
    filters = [FILTERS[name].check for name in DEFAULTS if name != "gold"]
    records = [to_record(row, where) for where, row in Source(str(SHARED / file))]
    found = [reason for made in records if (reason := first_rejection(filters, made)) is not None]
    assert found == ["figure_missing"] * drops
