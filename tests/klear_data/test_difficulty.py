"""Labels and the two formats: what counts, what is kept, what is left out."""

import pytest

from klear_data.difficulty import label_difficulty, wilson_interval
from klear_data.rl_format import labelled_problem, rl_prompts
from klear_data.sft_format import SftFormatter, sft_problem
from klear_data.stage import Drop, Fan


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


def test_true_if_easy_asks_for_a_label():
    assert "klear label" in sft_problem("true-if-easy")(record("AC"))
    assert sft_problem("all")(record("AC")) is None


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


def test_a_limit_takes_accepted_responses_first_and_keeps_their_order():
    outcome, _ = formatted(record("WA", "AC", "WA", "AC"), max_per_prompt=3)
    assert [line["id"][-1] for line in outcome.lines] == ["0", "1", "3"]


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
    assert list(rl_prompts([given], keep_weak=True)) == [given]


def test_rl_keeps_records_as_they_are_unless_rollouts_are_left_out():
    given = label_difficulty(record("AC"))
    assert list(rl_prompts([given])) == [given]
    (slim,) = rl_prompts([given], without_rollouts=True)
    assert set(given) - set(slim) == {"rollouts"}
    assert "klear label" in labelled_problem(record("AC"))
