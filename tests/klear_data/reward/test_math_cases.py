"""The verifier against labelled pairs: klear's own, and the shared ones where they are at hand."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from klear_data.reward.math import MathRewarder, MathVerdict

HERE = Path(__file__).resolve()
OWN = HERE.parents[2] / "math_cases"
SHARED = HERE.parents[3].parent / "shared"


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def rewarder():
    with MathRewarder(timeout_s=5.0, think="none", fallback=True) as made:
        yield made


def test_own_cases_are_many_and_hold_look_alikes():
    pairs = rows(OWN / "pairs.jsonl")
    assert len(pairs) >= 300
    assert sum(not pair["equal"] for pair in pairs) >= 100
    assert len({(pair["gold"], pair["answer"]) for pair in pairs}) == len(pairs)


def test_every_own_case_gets_its_label(rewarder):
    wrong = [
        (pair["kind"], pair["gold"], pair["answer"], found.verdict, found.stage)
        for pair in rows(OWN / "pairs.jsonl")
        if ((found := rewarder.verify_answer(pair["gold"], pair["answer"])).verdict == "AC") != pair["equal"]
    ]
    assert wrong == []


def test_own_cases_hold_both_ways_round_where_no_form_is_privileged(rewarder):
    symmetric = {"number", "fraction", "radical", "expression", "complex", "trigonometry", "logarithm", "scientific"}
    wrong = [
        (pair["gold"], pair["answer"])
        for pair in rows(OWN / "pairs.jsonl")
        if pair["kind"] in symmetric
        and (rewarder.verify_answer(pair["answer"], pair["gold"]).verdict == "AC") != pair["equal"]
        and rewarder.gold_problem(pair["answer"]) is None
    ]
    assert wrong == []


def judge(rewarder: MathRewarder, case: dict) -> MathVerdict:
    if case["level"] == "response":
        return rewarder.verify_response(case["gold"], case["pred"])
    return rewarder.verify_answer(case["gold"], case["pred"])


@pytest.mark.skipif(not SHARED.exists(), reason="the shared cases are not beside this checkout")
def test_shared_cases_meet_the_bars(rewarder):
    outcomes: Counter[tuple[bool, bool]] = Counter()
    for case in rows(SHARED / "cases/math_equivalence.jsonl"):
        if not case["policy"]:
            outcomes[judge(rewarder, case).verdict == "AC", case["equivalent"]] += 1
    accuracy = (outcomes[True, True] + outcomes[False, False]) / outcomes.total()
    precision = outcomes[True, True] / (outcomes[True, True] + outcomes[True, False])
    assert accuracy >= 0.985
    assert precision >= 0.998


GOLDS_WITHOUT_AN_ANSWER = {886, 1009, 5328, 5330}


@pytest.mark.skipif(not SHARED.exists(), reason="the shared data is not beside this checkout")
def test_every_math_and_gsm8k_gold_verifies_except_the_documented_empty_ones(rewarder):
    problems = json.loads((SHARED / "data/math/rllm_math.json").read_text())
    bad = {i for i, p in enumerate(problems) if rewarder.gold_problem(p["answer"]) is not None}
    assert bad == GOLDS_WITHOUT_AN_ANSWER
    assert all(not problems[i]["answer"] for i in bad)
    respelled = [
        p["answer"] for i, p in enumerate(problems)
        if i not in bad and rewarder.verify_answer(p["answer"], respell(p["answer"])).verdict != "AC"
    ]  # fmt: skip
    assert respelled == []
    for problem in rows(SHARED / "data/math/gsm8k_train.jsonl"):
        gold = problem["answer"].split("####")[-1].strip()
        assert rewarder.gold_problem(gold) is None
        assert rewarder.verify_answer(gold, f"\\text{{{gold}}}").verdict == "AC"


def respell(gold: str) -> str:
    """The same answer in other LaTeX, so that equal strings do not decide."""
    return "\\displaystyle " + gold.replace("\\frac{", "\\dfrac{").replace("(", "\\left( ").replace(")", "\\right) ")
