"""Labels and the two formats: what counts, what is kept, what is left out."""

import json

import pytest

from klear_data.difficulty import (
    difficulties,
    difficulty_by,
    difficulty_problem,
    label_difficulty,
    wilson_interval,
)
from klear_data.label_counts import LabelCounts
from klear_data.rl_format import RlRules, rl_problem, rl_prompts
from klear_data.sft_format import SftFormatter, sft_problem
from klear_data.stage import AccountingError, Drop, Fan
from klear_data.think_tags import normalised


def rollout(verdict, reward=None, *, index=0, finish_reason="stop"):
    rewards = {"AC": 1.0, "WA": -1.0, "FE": -1.0, "XX": None}
    return {
        "index": index,
        "completion": f"{verdict} {index}",
        "finish_reason": finish_reason,
        "verdict": verdict,
        "reward": rewards[verdict] if reward is None else reward,
    }


def record(*verdicts, **keys):
    return {
        "schema": "klear/1",
        "id": "0" * 16,
        "data_source": "toy",
        "ability": "math",
        "prompt": [{"role": "user", "content": "1+1?"}],
        "reward_model": {"style": "rule", "ground_truth": "2"},
        "sampling": {"model": "tiny"},
        "rollouts": [rollout(verdict, index=index) for index, verdict in enumerate(verdicts)],
        **keys,
    }


def test_a_verifier_failure_is_unscored_and_enters_no_rate():
    difficulty = label_difficulty(record("AC", "XX", "WA", "XX"))["difficulty"]
    assert difficulty["pass_rate"] == 0.5
    assert difficulty["mean_reward"] == 0.0
    assert (difficulty["scored"], difficulty["unscored"]) == (2, 2)


def test_nothing_scored_is_neither_easy_nor_hard():
    difficulty = label_difficulty(record("XX", "XX"))["difficulty"]
    assert difficulty["pass_rate"] is None
    assert difficulty["label"] == "unscored"


@pytest.mark.parametrize(("hard_below", "label"), [(0.5, "easy"), (0.51, "hard"), (0.0, "easy")])
def test_hard_is_strictly_below_the_threshold(hard_below, label):
    assert label_difficulty(record("AC", "WA"), hard_below=hard_below)["difficulty"]["label"] == label


def test_a_label_adds_one_key_and_changes_none():
    before = record("AC", unknown={"x": [1]})
    after = label_difficulty(before)
    assert {key: after[key] for key in before} == before
    assert set(after) - set(before) == {"difficulty"}
    assert after["difficulty"]["labeler"] == "tiny"


def test_wilson_interval_agrees_with_the_textbook():
    # Brown, Cai and DasGupta (2001): the roots of (p - rate)^2 = z^2 p(1-p)/n.
    for passes, trials in [(0, 10), (3, 16), (16, 16), (40, 64)]:
        low, high = wilson_interval(passes, trials)
        for bound in (low, high):
            if 0 < bound < 1:
                gap = (bound - passes / trials) ** 2 - 1.959963984540054**2 * bound * (1 - bound) / trials
                assert abs(gap) < 1e-12
        assert low <= passes / trials <= high
    assert wilson_interval(0, 0) is None


def test_a_rollout_that_never_came_is_unscored_too():
    given = record("AC", "WA")
    given["rollouts"].append(rollout("WA", index=2, finish_reason="error"))
    difficulty = label_difficulty(given)["difficulty"]
    assert (difficulty["pass_rate"], difficulty["scored"], difficulty["unscored"]) == (0.5, 2, 1)


def test_labels_of_several_labelers_stand_side_by_side():
    first = label_difficulty(record("AC", "AC"), labeler="small")
    second = label_difficulty({**first, "rollouts": record("WA")["rollouts"]}, labeler="large")
    third = label_difficulty(second, labeler="middle")
    assert [one["labeler"] for one in difficulties(third)] == ["middle", "large", "small"]
    assert difficulty_by(third, None)["pass_rate"] == 0.0
    assert difficulty_by(third, "small") == first["difficulty"]
    assert difficulty_by(third, "nobody") is None


def test_a_labeler_that_labels_again_replaces_what_it_said():
    first = label_difficulty(label_difficulty(record("AC"), labeler="a"), labeler="b")
    again = label_difficulty({**first, "rollouts": record("WA")["rollouts"]}, labeler="a")
    assert [(one["labeler"], one["pass_rate"]) for one in difficulties(again)] == [("a", 0.0), ("b", 1.0)]


@pytest.mark.parametrize(
    ("difficulty", "said"),
    [
        (None, "klear label"),
        ({"label": "medium"}, "'medium'"),
        ({"label": "easy", "pass_rate": "high"}, "'high'"),
        ({"label": "easy", "pass_rate": 2}, "0 to 1"),
        ({"label": "easy", "others": [1]}, "difficulty.others"),
        ({"label": "easy", "pass_rate": 1, "labeler": "a"}, "only by a"),
    ],
)
def test_a_difficulty_that_cannot_be_used_is_named(difficulty, said):
    given = record("AC") if difficulty is None else record("AC", difficulty=difficulty)
    problem = difficulty_problem(given, needed_by="--keep majority", labeler="b" if "only by" in said else None)
    assert said in problem


def test_labels_are_counted_by_ability_and_source():
    counts = LabelCounts()
    for given in (record("AC"), record("WA", "WA"), record("XX"), record(), record("AC", data_source="other")):
        counts.add(label_difficulty(given))
    rows = counts.rows()
    assert list(rows) == ["math/other", "math/toy", "all"]
    toy = rows["math/toy"]
    assert [toy[key] for key in ("problems", "easy", "hard", "unscored", "unscored_rollouts")] == [4, 1, 1, 2, 1]
    assert toy["pass_rate"] == 0.5
    assert rows["math/other"]["ci95"] is None
    assert rows["all"]["problems"] == 5
    assert LabelCounts().rows() == {}


def formatted(given, **options):
    formatter = SftFormatter(**options)
    (outcome,) = formatter([given])
    return outcome, formatter


def kept_verdicts(outcome):
    return [line["verdict"] for line in outcome.lines]


def test_all_keeps_right_and_wrong_but_never_unscored():
    outcome, formatter = formatted(record("AC", "WA", "XX"))
    assert kept_verdicts(outcome) == ["AC", "WA"]
    assert formatter.left_out == {"unscored": 1}


@pytest.mark.parametrize(("label", "kept"), [("easy", ["AC"]), ("hard", ["AC", "WA"])])
def test_true_if_easy_keeps_mistakes_on_hard_problems_only(label, kept):
    outcome, _ = formatted(record("AC", "WA", difficulty={"label": label}), correctness="true-if-easy")
    assert kept_verdicts(outcome) == kept


def test_a_difficulty_that_no_rule_looks_at_may_hold_anything():
    given = record("AC", difficulty={"others": 5})
    assert sft_problem("all")(given) is None
    assert kept_verdicts(formatted(given)[0]) == ["AC"]


def test_true_if_easy_asks_for_a_label():
    assert "klear label" in sft_problem("true-if-easy")(record("AC"))
    assert sft_problem("all")(record("AC")) is None
    assert "difficulty.label" in sft_problem("true-if-easy")(record("AC", difficulty={"pass_rate": 1}))


def test_a_problem_without_a_kept_response_is_dropped_with_its_reason():
    outcome, _ = formatted(record("WA", "FE"), correctness="only-true")
    assert isinstance(outcome, Drop)
    assert outcome.reason == "wrong"
    assert outcome.evidence == {"rollouts_left_out": {"wrong": 2}}
    assert formatted(record())[0].reason == "no_rollouts"


def test_truncated_responses_are_dropped_unless_asked_for():
    given = record("AC")
    given["rollouts"].append(rollout("WA", index=1, finish_reason="length"))
    assert kept_verdicts(formatted(given)[0]) == ["AC"]
    assert kept_verdicts(formatted(given, truncated="keep")[0]) == ["AC", "WA"]


def test_a_limit_keeps_the_share_of_right_responses_and_the_order():
    given = record(*["AC"] * 4 + ["WA"] * 12)
    outcome, formatter = formatted(given, max_per_prompt=4)
    assert sorted(kept_verdicts(outcome)) == ["AC", "WA", "WA", "WA"]
    indices = [int(line["id"].split("/")[1]) for line in outcome.lines]
    assert indices == sorted(indices)
    assert formatter.left_out == {"over_max_per_prompt": 12}


def test_a_limit_keeps_a_right_response_where_there_is_one():
    assert kept_verdicts(formatted(record(*["WA"] * 15, "AC"), max_per_prompt=1)[0]) == ["AC"]


def test_the_draw_hangs_on_seed_and_record_and_on_nothing_else():
    given = record(*["AC"] * 16)

    def ids(records, seed):
        outcomes = list(SftFormatter(max_per_prompt=4, seed=seed)(records))
        return [line["id"] for line in outcomes[-1].lines]

    assert ids([given], 1) == ids([record("WA", "AC"), given], 1)
    assert len({tuple(ids([given], seed)) for seed in range(8)}) > 4


def test_an_sft_line_is_prompt_and_response():
    outcome, _ = formatted(record("AC"))
    assert isinstance(outcome, Fan)
    (line,) = outcome.lines
    assert line["schema"] == "klear-sft/1"
    assert line["id"] == "0" * 16 + "/0"
    assert line["messages"] == [{"role": "user", "content": "1+1?"}, {"role": "assistant", "content": "AC 0"}]


@pytest.mark.parametrize(
    ("verdicts", "reason"),
    [("AC AC WA", None), ("AC WA", "pass_rate_not_above_half"), ("XX", "unscored"), ("AC XX", None)],
)
def test_majority_keeps_what_more_than_half_of_the_scored_rollouts_solve(verdicts, reason):
    (outcome,) = rl_prompts([label_difficulty(record(*verdicts.split()))])
    assert (outcome.reason if isinstance(outcome, Drop) else None) == reason


def test_problems_with_forgeable_verdicts_stay_out_of_rl_unless_asked_for():
    given = label_difficulty(record("AC"))
    given["rollouts"][0]["weak"] = True
    (outcome,) = rl_prompts([given])
    assert isinstance(outcome, Drop)
    assert outcome.reason == "weak_tests"
    assert list(rl_prompts([given], RlRules(keep_weak=True))) == [given]


def test_rl_keeps_records_as_they_are_unless_rollouts_are_left_out():
    given = label_difficulty(record("AC"))
    assert list(rl_prompts([given])) == [given]
    (slim,) = rl_prompts([given], without_rollouts=True)
    assert set(given) - set(slim) == {"rollouts"}
    assert "klear label" in rl_problem(RlRules())(record("AC"))


@pytest.mark.parametrize(
    ("reason", "rules", "verdicts", "keys"),
    [
        ("all_right", {"drop_extremes": True}, "AC AC", {}),
        ("all_wrong", {"drop_extremes": True, "keep": "all"}, "WA XX", {}),
        (None, {"drop_extremes": True, "keep": "all"}, "WA AC", {}),
        ("unscored", {"drop_extremes": True, "keep": "all"}, "XX", {}),
        ("too_few_scored", {"min_scored": 2}, "AC XX", {}),
        (None, {"keep": "all"}, "WA", {}),
        ("no_gold", {"keep": "all"}, "AC", {"reward_model": {"ground_truth": " "}}),
    ],
)
def test_each_rule_of_rl_has_its_name_and_its_reason(reason, rules, verdicts, keys):
    given = label_difficulty(record(*verdicts.split(), **keys))
    assert rl_problem(RlRules(**rules))(given) is None
    (outcome,) = rl_prompts([given], RlRules(**rules))
    assert (outcome.reason if isinstance(outcome, Drop) else None) == reason


def code(num_tests):
    tests = json.dumps({"inputs": ["1\n"] * num_tests, "outputs": ["1\n"] * num_tests})
    return label_difficulty(record("AC", ability="code", reward_model={"ground_truth": tests}))


@pytest.mark.parametrize(
    ("num_tests", "rules", "reason"),
    [
        (16, {}, None),
        (15, {}, "too_few_tests"),
        (15, {"min_tests": 4}, None),
        (1, {"keep": "all"}, None),
        (3, {"keep": "all", "min_tests": 4}, "too_few_tests"),
    ],
)
def test_the_majority_rule_asks_for_sixteen_tests_of_a_code_problem(num_tests, rules, reason):
    (outcome,) = rl_prompts([code(num_tests)], RlRules(**rules))
    assert (outcome.reason if isinstance(outcome, Drop) else None) == reason
    if reason:
        assert outcome.evidence["tests"] == num_tests


def test_the_rule_looks_at_the_labeler_that_was_named():
    given = label_difficulty(label_difficulty(record("AC"), labeler="a"), labeler="b")
    given["difficulty"]["pass_rate"] = 0.0
    assert [isinstance(one, Drop) for one in rl_prompts([given], RlRules(labeler="a"))] == [False]
    assert [isinstance(one, Drop) for one in rl_prompts([given], RlRules(labeler="b"))] == [True]


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ("<think>a</think>b", "<think>\na\n</think>\n\nb"),
        ("\n<think>\na\n</think>\n\nb\n", "<think>\na\n</think>\n\nb"),
        ("a\n</think> b", "<think>\na\n</think>\n\nb"),
        ("<think></think>b", "<think>\n\n</think>\n\nb"),
        ("<think>a</think>\n \n    code", "<think>\na\n</think>\n\n    code"),
        ("b", "b"),
        ("<think>a", "<think>a"),
        ("well <think>a</think>b", "well <think>a</think>b"),
        ("<think>a</think>b<think>c</think>d", "<think>a</think>b<think>c</think>d"),
    ],
)
def test_think_tags_are_written_one_way_and_twice_is_once(written, wanted):
    assert normalised(written) == wanted
    assert normalised(wanted) == wanted


def test_what_was_cut_inside_its_thinking_is_left_out_even_where_no_finish_reason_says_so():
    given = record("AC", "FE", "WA", "WA")
    for one, completion in zip(given["rollouts"], ("<think>a</think>b", "<think>a", " ", "x"), strict=True):
        one.update(completion=completion, finish_reason=None)
    given["rollouts"][3]["finish_reason"] = "error"
    outcome, formatter = formatted(given)
    assert [line["messages"][-1]["content"] for line in outcome.lines] == ["<think>\na\n</think>\n\nb"]
    assert formatter.left_out == {"think_unclosed": 1, "empty": 1, "sampling_failed": 1}
    assert formatter.counts()["responses"] == {"in": 4, "out": 1, "left_out": 3}
    outcome, _ = formatted(given, truncated="keep", think_tags="as-is")
    assert [line["messages"][-1]["content"] for line in outcome.lines] == ["<think>a</think>b", "<think>a"]


def test_a_response_that_gets_lost_is_a_bug_and_not_a_count():
    formatter = SftFormatter(responses_in=2, responses_out=1)
    with pytest.raises(AccountingError):
        formatter.counts()


def test_responses_with_equal_indices_get_ids_of_their_own():
    given = record("AC", "AC")
    given["rollouts"][1]["index"] = 0
    assert [line["id"][-2:] for line in formatted(given)[0].lines] == ["/0", "/1"]
