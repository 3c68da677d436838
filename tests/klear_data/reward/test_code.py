"""Code rewards: which block is judged, what each verdict is worth, and that nothing is lost or reordered."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from klear_data.reward import code
from klear_data.reward.code import CodeRewarder, extract_code
from klear_data.stage import Drop
from sandbox import TestsError

_TESTS = json.dumps({"inputs": [f"{n} {n}\n" for n in range(4)], "outputs": [f"{2 * n}\n" for n in range(4)]})
_RIGHT = "a, b = map(int, input().split())\nprint(a + b)\n"
_HALF = "a, b = map(int, input().split())\nprint(a + b if a < 2 else 0)\n"
_SHARED = Path(__file__).resolve().parents[4] / "shared"


def _answer(program: str, *, tag: str = "python") -> str:
    return f"<think>hm</think>\nHere:\n```{tag}\n{program.rstrip()}\n```\n"


@pytest.fixture(scope="module")
def rewarder() -> Iterator[CodeRewarder]:
    with CodeRewarder(jobs=2, time_limit_s=1) as opened:
        yield opened


@pytest.mark.parametrize(
    ("text", "language", "found"),
    [
        ("```python\nx = 1\n```", "auto", ("x = 1\n", "python")),
        ("```py\na\n```\n```python3\nb\n```", "auto", ("b\n", "python")),
        ("```\nx\n```", "auto", ("x\n", "python")),
        ("```\n#include <iostream>\nint main() {}\n```", "auto", ("#include <iostream>\nint main() {}\n", "cpp")),
        ("```C++\nx\n```", "auto", ("x\n", "cpp")),
        ("```cpp\nx\n```", "python", None),
        ("```python\nx\n```\n```cpp\ny\n```", "python", ("x\n", "python")),
        ("```python\nx\n```\nIt prints\n```\n5\n```", "auto", ("x\n", "python")),
        ("```python\nx\n```\n```text\n5\n```", "auto", ("x\n", "python")),
        ("no code", "auto", None),
        ("```python\ncut off", "auto", None),
        ("~~~python\nx\n~~~", "auto", ("x\n", "python")),
        ("````python\ns = '''\n```\n'''\n````", "auto", ("s = '''\n```\n'''\n", "python")),
        ("  ```python\n  if x:\n      y\n  ```", "auto", ("if x:\n    y\n", "python")),
        ("```python\r\nx\r\n```\r\n", "auto", ("x\r\n", "python")),
        ("```json\n{}\n```", "auto", None),
    ],
)  # fmt: skip
def test_the_last_block_in_a_judged_language_is_taken(text: str, language: Any, found: Any) -> None:
    assert extract_code(text, language) == found


@pytest.mark.parametrize(
    ("completion", "verdict", "paper", "official", "binary"),
    [
        (_answer(_RIGHT), "AC", 1.0, 1.0, 1.0),
        (_answer(_HALF), "WA", 0.5, 0.0, 0.0),
        (_answer("print(1 +"), "CE", 0.0, -1.0, 0.0),
        (_answer("undefined"), "RE", 0.0, -1.0, 0.0),
        ("<think>x</think> no code", "NA", 0.0, -1.0, 0.0),
        (f"<think>```python\n{_RIGHT}```</think> done", "NA", 0.0, -1.0, 0.0),
        ("```python\n" + _RIGHT + "```", "FE", -1.0, -2.0, 0.0),
        ("<think>```python\n" + _RIGHT + "```", "FE", -1.0, -0.5, 0.0),
    ],
)  # fmt: skip
def test_each_verdict_has_its_reward_in_each_scheme(
    completion: str, verdict: str, paper: float, official: float, binary: float
) -> None:
    for scheme, reward in (("paper", paper), ("official", official), ("binary", binary)):
        with CodeRewarder(scheme=scheme) as one:  # type: ignore[arg-type]
            found = one.reward_one(_TESTS, completion)
        assert (found["verdict"], found["reward"], found["total"]) == (verdict, reward, 4)
        assert found["format_ok"] is (verdict != "FE")


def test_records_come_back_in_order_with_rewards_and_everything_else_untouched(rewarder: CodeRewarder) -> None:
    slow = "import time\ntime.sleep(0.3)\n" + _RIGHT
    records = [
        {"ability": "code", "id": str(n), "extra": {"kept": n}, "reward_model": {"ground_truth": _TESTS},
         "rollouts": [{"index": 0, "completion": _answer(slow if n == 0 else _HALF + f"# {n}\n")}, {"completion": "?"}]}
        if n % 3 else {"ability": "math", "id": str(n)}
        for n in range(12)
    ]  # fmt: skip
    found = list(rewarder.reward_records(iter(records)))
    assert [record["id"] for record in found if isinstance(record, dict)] == [str(n) for n in range(12)]
    for before, after in zip(records, found, strict=True):
        assert isinstance(after, dict)
        if before["ability"] == "math":
            assert after is before
            continue
        assert after["extra"] == before["extra"]
        assert [r["verdict"] for r in after["rollouts"]] == ["WA", "FE"]
        given = {"reward", "verdict", "passed", "total", "format_ok", "wall_s"}
        assert set(after["rollouts"][0]) == {"index", "completion"} | given
        assert "reward" not in before["rollouts"][0]  # type: ignore[index]


@pytest.mark.parametrize(
    ("tests", "reason"),
    [("{}", "no_tests"), ("nonsense", "tests_malformed"), ('{"inputs": ["1"], "outputs": []}', "tests_unequal")],
)  # fmt: skip
def test_unusable_tests_drop_the_record_with_a_reason(rewarder: CodeRewarder, tests: str, reason: str) -> None:
    record = {"ability": "code", "reward_model": {"ground_truth": tests}, "rollouts": [{"completion": "x"}]}
    (found,) = rewarder.reward_records([record])
    assert isinstance(found, Drop)
    assert found.reason == reason
    assert found.record is record
    with pytest.raises(TestsError):
        rewarder.reward_one(tests, "x")


def test_the_same_program_on_the_same_tests_is_run_once() -> None:
    with CodeRewarder(jobs=2) as one:
        record = {"ability": "code", "reward_model": {"ground_truth": _TESTS},
                  "rollouts": [{"completion": _answer(_RIGHT)}] * 5}  # fmt: skip
        (found,) = one.reward_records([record])
        assert isinstance(found, dict)
        assert [rollout["reward"] for rollout in found["rollouts"]] == [1.0] * 5
        assert (one.tests_run, one.remembered) == (4, 4)


def test_fewer_tests_are_drawn_by_the_seed_and_alike_for_every_rollout() -> None:
    drawn = set()
    for seed in range(6):
        with CodeRewarder(max_tests=2, seed=seed) as one:
            rewards = {one.reward_one(_TESTS, _answer(_HALF + f"# {n}\n"))["reward"] for n in range(3)}
        with CodeRewarder(max_tests=2, seed=seed) as again:
            assert {again.reward_one(_TESTS, _answer(_HALF))["reward"]} == rewards
        assert len(rewards) == 1
        drawn |= rewards
    assert len(drawn) > 1


def test_without_tests_syntax_alone_is_never_rewarded() -> None:
    with CodeRewarder(use_tests=False) as one:
        compiles = one.reward_one("{}", _answer(_RIGHT))
        broken = one.reward_one("{}", _answer("print("))
        untagged = one.reward_one("{}", "nothing")
    assert (compiles["reward"], compiles["verdict"], compiles["total"]) == (None, "XX", 0)
    assert (broken["verdict"], broken["reward"]) == ("CE", 0.0)
    assert (untagged["verdict"], untagged["reward"]) == ("FE", -1.0)


def test_verifier_failure_is_null_reward_not_zero(rewarder: CodeRewarder) -> None:
    tests = json.dumps({"inputs": ["1"], "outputs": ["1"], "checker": "def check(i, e, o):\n    raise ValueError\n"})
    found = rewarder.reward_one(tests, _answer("print(1)"))
    assert (found["verdict"], found["reward"]) == ("XX", None)


def test_a_test_that_shares_its_interpreter_is_marked_weak(rewarder: CodeRewarder) -> None:
    tests = json.dumps({"functional": "assert f(lambda: 3) == 3"})
    found = rewarder.reward_one(tests, _answer("def f(g):\n    return g()\n"))
    assert found["weak"] is True
    assert "weak" not in rewarder.reward_one(_TESTS, _answer(_RIGHT))


def test_rewards_are_given_from_many_threads(rewarder: CodeRewarder) -> None:
    found: list[float] = []

    def work(n: int) -> None:
        found.append(rewarder.reward_one(_TESTS, _answer(_RIGHT + f"# thread {n}\n"))["reward"])

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [1.0] * 8


def test_the_stream_is_read_only_a_bounded_way_ahead(rewarder: CodeRewarder) -> None:
    read = 0

    def source() -> Iterator[dict[str, Any]]:
        nonlocal read
        for n in range(5000):
            read += 1
            yield {"ability": "code", "reward_model": {"ground_truth": _TESTS},
                   "rollouts": [{"completion": f"<think></think>{n}"}] * 4}  # fmt: skip

    stream = rewarder.reward_records(source())
    next(stream)
    assert read < 500


_EXPLOITS = sorted((_SHARED / "cases" / "exploits").glob("*.json")) if _SHARED.is_dir() else []


@pytest.mark.skipif(not _EXPLOITS, reason="the shared cases are not at hand")
def test_no_shared_exploit_gets_full_reward_and_every_control_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KLEAR_TEST_SECRET", "s3cr3t")
    wrong = []
    with CodeRewarder(jobs=2, think="none", time_limit_s=0.5, max_tests=2) as one:
        cases = [json.loads(path.read_text()) for path in _EXPLOITS]
        records = [
            {"ability": "code", "reward_model": {"ground_truth": json.dumps(case["tests"])},
             "rollouts": [{"completion": _answer(case["code"].replace("PORT", "9") + "\n")}]}
            for case in cases
        ]  # fmt: skip
        for case, record in zip(cases, one.reward_records(records), strict=True):
            assert isinstance(record, dict), record
            reward = record["rollouts"][0]["reward"]
            full = case["group"] == "control_must_pass"
            if reward is None or (reward == 1.0) is not full:
                wrong.append((case["name"], record["rollouts"][0]))
    assert wrong == []


def test_one_long_line_does_not_hold_up_the_search_for_a_fence() -> None:
    started = time.process_time()
    assert extract_code("```" + "a" * 200_000 + "`") is None
    assert extract_code("```" + " " * 200_000 + "`") is None
    assert time.process_time() - started < 2


def test_remembered_suites_are_bounded_by_their_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code, "_SUITES_BYTES", 100_000)
    with CodeRewarder(jobs=1) as rewarder:
        for index in range(20):
            rewarder._tests(json.dumps({"inputs": [str(index)], "outputs": ["x" * 30_000]}))
        assert 60_000 <= rewarder._suites_bytes <= 100_000
        rewarder._tests(json.dumps({"inputs": ["1"], "outputs": ["x" * 300_000]}))
        assert not rewarder._suites
        assert rewarder._suites_bytes == 0
