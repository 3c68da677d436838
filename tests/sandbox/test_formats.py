"""Every test format of the contract is read, and what cannot be used says why."""

from __future__ import annotations

import base64
import json
import pickle
import zlib
from typing import Any

import pytest

from sandbox import JudgePool, TestsError, parse_tests
from sandbox.types import CallTest, ScriptTest

_ADD = "a, b = map(int, input().split())\nprint(a + b)"
_LISTED = [
    {"input": "1 2\n", "output": "3\n", "testtype": "stdin"},
    {"input": "5 6\n", "output": "11\n", "testtype": "stdin"},
]
_FUNCTIONAL = [
    {"input": "[1, 2]\n3", "output": "[1, 2, 3]", "testtype": "functional", "metadata": {"func_name": "app"}}
]


def _packed(tests: list[dict[str, Any]]) -> str:
    return base64.b64encode(zlib.compress(pickle.dumps(json.dumps(tests)))).decode()


@pytest.mark.parametrize(
    ("ground_truth", "program"),
    [
        ({"inputs": ["1 2\n", "3 4\n"], "outputs": ["3", "7"]}, _ADD),
        ({"inputs": [["1 2"], ["3 4"]], "outputs": [["3"], ["7"]]}, _ADD),
        ({"inputs": ["1 2\n"], "outputs": [3]}, _ADD),
        (_LISTED, _ADD),
        (_packed(_LISTED), _ADD),
        ({"private_test_cases": _packed(_LISTED), "public_test_cases": json.dumps(_LISTED)}, _ADD),
        (_FUNCTIONAL, "class Solution:\n    def app(self, a, b):\n        return [*a, b]"),
        ({"fn_name": "f", "inputs": [[1], [2]], "outputs": [2, 3]}, "def f(n):\n    return n + 1"),
        ({"fn_name": "f", "inputs": [[{"1": 5}]], "outputs": [5]}, "def f(d):\n    return d[1]"),
        ({"functional": "assert f(1) == 2"}, "def f(n):\n    return n + 1"),
        (["assert f(1) == 2", "assert f(2) == 3\nassert f(3) == 4"], "def f(n):\n    return n + 1"),
        ({"test_list": ["assert f(1) == 2"], "test_imports": ["import math"]}, "def f(n):\n    return n + 1"),
        ({"test_list": ["assert sum(2, 3) == 5"]}, "def sum(a, b):\n    return a + b"),
        ({"test": "def check(candidate):\n    assert candidate(1) == 2", "entry_point": "f",
          "prompt": "def f(n):\n    '''add one'''\n"}, "    return n + 1"),
        ({"test": "def check(candidate):\n    assert candidate(1) == helper(0) + 1", "entry_point": "f",
          "prompt": "def helper(n):\n    return n + 1\ndef f(n):\n    '''add one'''\n"}, "def f(n):\n    return n + 1"),
        ({"pytest": "from solution import f\ndef test_f():\n    assert f(1) == 2"}, "def f(n):\n    return n + 1"),
    ],
)  # fmt: skip
def test_a_right_program_passes_in_every_format(ground_truth: Any, program: str, pool: JudgePool) -> None:
    text = ground_truth if isinstance(ground_truth, str) else json.dumps(ground_truth)
    if not text.startswith(("{", "[")):
        text = json.dumps({"tests": text})
    suite = parse_tests(text)
    judgement = pool.judge(program, suite)
    assert (judgement.passed, judgement.verdict) == (len(suite), "AC"), judgement


@pytest.mark.parametrize(
    ("ground_truth", "reason"),
    [
        ("", "no_tests"),
        ("{}", "no_tests"),
        ("[]", "no_tests"),
        ({"inputs": [], "outputs": []}, "no_tests"),
        ({"inputs": ["1"], "outputs": []}, "tests_unequal"),
        ({"inputs": "1", "outputs": ["1"]}, "tests_malformed"),
        ("no json", "tests_malformed"),
        ("3", "tests_malformed"),
        ("[" * 100_000, "tests_malformed"),
        ({"inputs": [None], "outputs": ["1"]}, "tests_malformed"),
        ({"functional": "def broken(:"}, "tests_malformed"),
        ({"functional": "x = 1"}, "tests_malformed"),
        ({"inputs": ["1"], "outputs": ["1"], "checker": "psychic"}, "tests_unsupported"),
        ({"inputs": ["1"], "outputs": ["1"], "time_limit": -1}, "tests_malformed"),
        ({"surprise": 1}, "tests_unsupported"),
        ([{"input": "1"}], "tests_malformed"),
        ([{"input": "1", "output": "1", "testtype": "telepathy"}], "tests_unsupported"),
        ({"tests": "not base64!"}, "tests_malformed"),
        ({"fn_name": "f", "inputs": ["0x" + "f" * 120_000], "outputs": [1]}, "tests_malformed"),
        ({"fn_name": "f", "inputs": ["[" * 300 + "]" * 300], "outputs": [1]}, "tests_malformed"),
        ({"fn_name": "f", "inputs": ["[" * 900 + "]" * 900], "outputs": [1]}, "tests_malformed"),
        (
            {"inputs": ["3"], "outputs": ["3"], "checker": "# \ud800\ndef check(i, e, o):\n    return True\n"},
            "tests_malformed",
        ),
        (
            {"test": "def check(candidate):\n    assert candidate(1) == 2\n", "entry_point": "(", "prompt": ""},
            "tests_malformed",
        ),
    ],
)
def test_unusable_tests_say_why(ground_truth: Any, reason: str) -> None:
    text = ground_truth if isinstance(ground_truth, str) else json.dumps(ground_truth)
    with pytest.raises(TestsError) as caught:
        parse_tests(text)
    assert caught.value.reason == reason


class _Bomb:
    def __reduce__(self) -> Any:
        return (exec, ("raise SystemExit('executed')",))


def test_a_pickle_is_read_without_executing_it() -> None:
    packed = base64.b64encode(zlib.compress(pickle.dumps(_Bomb()))).decode()
    with pytest.raises(TestsError, match="pickle"):
        parse_tests({"tests": packed})


def test_one_wrong_character_lowers_exactly_that_test(pool: JudgePool) -> None:
    text = "def check(candidate):\n" + "".join(f"    assert candidate({n}) == {n + 1}\n" for n in (1, 2, 3))
    program = "def f(n):\n    return n + 1"
    for wrong in range(3):
        changed = text.replace(f"== {wrong + 2}", f"== {wrong + 7}")
        cases = pool.judge(program, parse_tests({"functional": changed, "entry_point": "f"})).cases
        assert [case.verdict == "AC" for case in cases] == [index != wrong for index in range(3)]


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("assert f(1) == 2", [CallTest]),
        ("assert f(1) is True\nassert not f(2)\nassert 3 in f(3)", [CallTest] * 3),
        ("import math\nassert math.isclose(f(1), 0.5, rel_tol=1e-3)", [CallTest]),
        ("assert abs(f(1) - 0.5) < 1e-6", [CallTest]),
        ("for a, b in [(1, 2), (3, 4)]:\n    assert f(a) == b", [CallTest] * 2),
        ("def near(a, b):\n    return abs(a - b) < 0.1\nassert near(f(1), 2)", [CallTest]),
        ("result = f(1)\nassert result == 2\nassert result != 3", [CallTest] * 2),
        ("assert all(x > 0 for x in f(1))", [CallTest]),
        ("assert sorted(f(1)) == [1]\nassert set(f(2)) == {1}\nassert len(f(3)) == 1", [CallTest] * 3),
        ("s = Solution()\nassert s.f(1) == 2", [CallTest]),
        ("import random\nassert f(random.random()) > 0", [ScriptTest]),
        ("assert f(lambda x: x) == 1", [ScriptTest]),
        ("assert f(g(1)) == 1", [ScriptTest]),
        ("s = Stack()\ns.push(1)\nassert s.pop() == 1", [ScriptTest]),
    ],
)
def test_asserts_become_calls_where_they_can(text: str, kinds: list[type]) -> None:
    assert [type(test) for test in parse_tests({"functional": text}).tests] == kinds


def test_trivial_asserts_are_no_tests() -> None:
    assert len(parse_tests({"functional": "assert True\nassert f(1) == 1\nassert 1 + 1 == 2"})) == 1
