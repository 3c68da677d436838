"""The figures of a benchmark against numbers worked out by hand."""

import json

import pytest

from klear_data.errors import UsageError
from klear_data.evaluation.figures import by_source, figures
from klear_data.evaluation.question import question_of
from klear_data.evaluation.tables import COLUMNS, by_group_table, summary_table
from tests.klear_data.evaluation.helpers import judged


def found(*records, **how):
    return figures([question_of(record, lambda one, other: one == other) for record in records], **how)


RECORDS = (
    judged("AC AC WA WA", answers=["1", "1", "2", "3"], number=0),  # 1/2, majority right
    judged("AC WA WA NA", answers=["2", "5", "5", None], number=1),  # 1/4, majority wrong
    judged("WA XX FE", answers=["4", "5", None], number=2, lost=1),  # 0
)


def test_known_verdicts_give_the_known_figures():
    got = found(*RECORDS, k=[1, 2, 4])
    assert (got["questions"], got["n"], got["samples"], got["correct"]) == (3, 4, 12, 3)
    assert got["avg"]["value"] == pytest.approx((0.5 + 0.25 + 0) / 3)
    assert got["pass_at"]["1"]["value"] == pytest.approx(got["avg"]["value"])
    assert got["pass_at"]["2"]["value"] == pytest.approx((5 / 6 + 3 / 6 + 0) / 3)
    assert got["pass_at"]["4"]["value"] == pytest.approx(2 / 3)
    assert got["maj"]["value"] == pytest.approx(1 / 3)
    assert got["rates"] == pytest.approx(
        {"truncated": 0, "no_answer": 1 / 12, "tags_missing": 1 / 12, "verifier_failed": 1 / 12,
         "sampling_failed": 1 / 12}
    )  # fmt: skip
    assert got["verdicts"] == {"WA": 5, "AC": 3, "NA": 1, "XX": 1, "FE": 1}
    assert got["mean_tokens"] == pytest.approx((100 + 100 + 60) / 11)
    assert [(one["correct"], one["n"], one["failed"]) for one in got["per_question"]] == [
        (2, 4, 0),
        (1, 4, 0),
        (0, 4, 1),
    ]
    assert json.loads(json.dumps(got)) == got


def test_both_errors_are_named_and_differ():
    got = found(*RECORDS)["avg"]
    over_questions, over_samples = got["over_questions"], got["over_samples"]
    # Sample standard deviation of 1/2, 1/4, 0 over the root of 3; within: (4/12 ⋅ 1/4 …) by hand below.
    assert over_questions["se"] == pytest.approx(0.25 / 3**0.5)
    assert over_samples["se"] == pytest.approx((0.25 / 3 + 0.1875 / 3) ** 0.5 / 3)
    assert (over_questions["method"], over_samples["method"]) == ("bootstrap-t", "normal")


def test_a_k_above_the_samples_of_any_question_is_refused():
    with pytest.raises(UsageError, match=r"--k 4: toy has a question with 3 samples"):
        found(judged("AC WA WA"), judged("AC WA WA AC", number=1), k=[4])


def test_without_a_wish_k_goes_in_powers_of_4_up_to_n():
    assert list(found(judged(["WA"] * 64))["pass_at"]) == ["4", "16", "64"]
    assert list(found(judged(["WA"]))["pass_at"]) == []


def test_questions_with_unequal_numbers_of_samples_count_alike():
    got = found(judged("AC"), judged("AC WA WA WA", number=1))
    assert got["avg"]["value"] == pytest.approx((1 + 0.25) / 2)
    assert (got["n"], got["n_most"], got["avg"]["over_samples"]) == (1, 4, None)


def test_one_question_has_no_error_over_questions_and_code_no_majority():
    got = found(judged("AC WA", ability="code"))
    assert got["avg"]["over_questions"] is None
    assert got["maj"] is None


def test_levels_of_a_benchmark_are_told_apart():
    levels = [judged("AC WA", number=at, extra_info={"difficulty": level}) for at, level in enumerate(["easy", "hard"])]
    got = found(*levels, judged("WA WA", number=5, extra_info={"difficulty": "hard"}))
    assert got["by_group"] == {"easy": {"questions": 1, "avg": 0.5}, "hard": {"questions": 2, "avg": 0.25}}
    assert "hard" in by_group_table({"toy": got})[0]


def test_the_table_is_markdown_with_a_column_for_each_heading():
    questions = [question_of(record) for record in (*RECORDS, judged("AC AC", source="other"))]
    lines = summary_table({name: figures(some) for name, some in by_source(questions).items()}).splitlines()
    assert len(lines) == 4
    assert {line.count("|") for line in lines} == {len(COLUMNS) + 1}
    assert "25.0 [" in lines[2]
    assert len({len(line) for line in lines}) == 1
