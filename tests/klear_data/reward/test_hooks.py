"""The reward functions that TRL and verl call, for math and code in one data set."""

import json
import os
import signal
import subprocess
import sys
import threading

import pytest

from klear_data.reward.hooks import compute_score, trl_code_reward, trl_math_reward, trl_reward
from klear_data.reward.rewarders import ability_of

ADD = "<think></think>\n```python\nprint(sum(map(int, input().split())))\n```"
TESTS = json.dumps({"inputs": ["1 2\n", "40 2\n"], "outputs": ["3\n", "42\n"]})
HALF = ADD.replace("sum(map(int, input().split()))", "3")
BROKEN_TESTS = json.dumps({"inputs": ["1"], "outputs": []})

COLUMNS = {
    "ability": ["math", "code", "code", "math", "code"],
    "reward_model": [{"ground_truth": gold} for gold in ("5", TESTS, TESTS, "\\frac{1", BROKEN_TESTS)],
}
COMPLETIONS = [
    "<think></think>\\boxed{5}",
    [{"role": "assistant", "content": ADD}],
    HALF,
    "<think></think>\\boxed{5}",
    ADD,
]


@pytest.mark.parametrize("named", ["ability", "extra_info", "nothing"])
def test_each_problem_meets_its_own_verifier_and_what_could_not_be_judged_has_no_reward(named):
    columns = dict(COLUMNS)
    if named != "ability":
        abilities = columns.pop("ability")
        if named == "extra_info":
            columns["extra_info"] = [{"ability": one} for one in abilities]
    logged = {}
    rewards = trl_reward()(COMPLETIONS, prompts=[""] * 5, log_metric=logged.__setitem__, **columns)
    assert rewards == [1.0, 1.0, 0.5, None, None]
    assert logged == {"klear/unscored": 0.4}


def test_a_reward_for_one_ability_leaves_the_other_to_another_function():
    math, code = trl_math_reward(), trl_code_reward()
    assert (math.__name__, code.__name__) == ("klear_math", "klear_code")
    assert math(COMPLETIONS, **COLUMNS) == [1.0, None, None, None, None]
    assert code(COMPLETIONS, **COLUMNS) == [None, 1.0, 0.5, None, None]


def test_verl_gets_the_same_keys_and_a_number_for_both():
    found = [
        compute_score("x", text if isinstance(text, str) else text[0]["content"], gold["ground_truth"], {"ability": of})
        for text, gold, of in zip(COMPLETIONS, COLUMNS["reward_model"], COLUMNS["ability"], strict=True)
    ]
    assert [one["score"] for one in found] == [1.0, 1.0, 0.5, 0.0, 0.5]
    assert [one["scored"] for one in found] == [1.0, 1.0, 1.0, 0.0, 0.0]
    assert [one["verdict"] for one in found] == ["AC", "AC", "WA", "XX", "XX"]
    assert len({tuple(one) for one in found}) == 1  # verl stacks them


def test_settings_reach_the_verifiers_and_a_misspelt_one_is_an_error():
    assert compute_score("x", HALF, TESTS, scheme="official")["score"] == 0.0  # the mean of +1 and -1
    assert compute_score("x", ADD.removeprefix("<think>"), TESTS)["verdict"] == "FE"
    assert compute_score("x", ADD.removeprefix("<think>"), TESTS, think="closing")["verdict"] == "AC"
    assert compute_score("x", ADD, BROKEN_TESTS, scheme="binary")["score"] == 0.5
    assert compute_score("x", ADD, TESTS, reward_router_address=None)["verdict"] == "AC"  # verl's own
    with pytest.raises(TypeError, match="sheme"):
        compute_score("x", ADD, TESTS, sheme="paper")
    with pytest.raises(TypeError, match="sheme"):
        trl_reward(sheme="paper")


def test_columns_without_a_gold_or_of_another_length_are_said():
    with pytest.raises(ValueError, match=r"klear: no gold answers among the data set's columns \(x\)"):
        trl_reward()(["a"], x=[1])
    with pytest.raises(ValueError, match="1 golds for 2 completions"):
        trl_reward()(["a", "b"], answer=["5"])


@pytest.mark.parametrize(
    ("gold", "expected"),
    [
        (TESTS, "code"), ('{"functional": "assert f(1)"}', "code"), ('[{"input": "1", "output": "2"}]', "code"),
        ('{"fn_name": "f", "inputs": [[1]], "outputs": [2]}', "code"), ('["5", "five"]', "math"), ("{1, 2}", "math"),
        ("[1, 2)", "math"), ("5", "math"), ([5], "math"), ("[]", "math"),
    ],
)  # fmt: skip
def test_without_an_ability_tests_are_told_by_their_form(gold, expected):
    assert ability_of(None, gold) == expected
    assert ability_of("code", gold) == "code"


def test_a_fork_of_the_trainer_gets_sandboxes_of_its_own_and_leaves_its_parent_s():
    assert compute_score("x", ADD, TESTS)["verdict"] == "AC"
    for _ in range(2):  # a second one: the first must not have ended the parent's
        pid = os.fork()
        if pid == 0:
            signal.alarm(30)
            verdicts = [compute_score("x", ADD.replace("print", f"# {os.getpid()}\nprint"), TESTS)["verdict"]]
            verdicts.append(compute_score("x", "<think></think>\\boxed{\\sqrt{8}}", "2\\sqrt 2")["verdict"])
            os._exit(verdicts != ["AC", "AC"])
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert compute_score("x", HALF, TESTS)["verdict"] == "WA"


def test_many_threads_share_one_pool():
    found = []
    programs = [ADD.replace("print", f"x = {n}\nprint") for n in range(12)]
    threads = [threading.Thread(target=lambda p=p: found.append(compute_score("x", p, TESTS))) for p in programs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one["verdict"] for one in found] == ["AC"] * 12


def test_a_process_that_has_judged_programs_ends():
    program = (
        f"from klear_data.reward.hooks import compute_score\nprint(compute_score('x', {ADD!r}, {TESTS!r})['score'])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"1.0\n", b"")
