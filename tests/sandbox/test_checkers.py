"""Outputs and values are compared exactly where they should be and no more exactly than that."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox import Job, JudgePool, TestSuite, parse_tests
from sandbox.checkers import same_value, text_checker
from sandbox.plain import Linked, Opaque, PlainError, Tree, dump, load
from sandbox.types import StdinTest


@pytest.mark.parametrize(
    ("expected", "printed", "kind", "same"),
    [
        ("1 2\n3", "1  2 \n3\n\n", "tokens", True),
        ("1\n2\n3", "123", "tokens", False),
        ("1\n2\n3", "1 2 3", "tokens", False),
        ("1 2 3", "3 2 1", "tokens", False),
        ("1 2", "1 2 2", "tokens", False),
        ("50000000000000000", "50000000000000001", "tokens", False),
        ("7", "7.0", "tokens", False),
        ("7", "07", "tokens", False),
        ("0.0001", "0.0004", "tokens", False),
        ("0.333333333", "0.33333334", "tokens", True),
        ("1.0", "1", "tokens", True),
        ("1.5", "nan", "tokens", False),
        ("1.5", "inf", "tokens", False),
        ("1.5", "1.5e0", "tokens", True),
        ("1.5", "1e999999999", "tokens", False),
        ("1e9999999", "1.5", "tokens", False),
        ("1e9999999", "1e9999999", "tokens", True),
        ("yes", "YES", "tokens", False),
        ("", "", "tokens", True),
        ("", "0", "tokens", False),
        ("a\n\nb", "a\nb", "tokens", False),
        ("a b", "a  b", "exact", False),
        ("a b", "a b\n", "exact", True),
        ("b\na", "a\nb", "unordered", True),
        ("b\na", "a\nb\nb", "unordered", False),
        ("3", "3.0000001", "float", True),
        ("3", "3.1", "float", False),
    ],
)
def test_text_is_compared_by_lines_and_tokens(expected: str, printed: str, kind: str, same: bool) -> None:
    assert text_checker(expected.encode(), kind)(printed.encode()) is same


@pytest.mark.parametrize(
    ("got", "want", "same"),
    [
        (1, True, False), (True, 1, False), (True, True, True), (None, None, True), (0, None, False),
        ((1, 2), [1, 2], True), ([1, 2], [2, 1], False), ([1, [2]], [1, [2]], True), (2.0, 2, True), (2, 2.0, True),
        (2**53 + 1, 2**53, False), (float(2**53), 2**53 + 1, False), (0.1 + 0.2, 0.3, True), (0.0004, 0.0001, False),
        (math.nan, 1.0, False), (math.nan, math.nan, True), (math.inf, 1e308, False), (math.inf, math.inf, True),
        (10**400, 1.0, False), ("1", 1, False), ("a", "a", True), ({1: 2}, {"1": 2}, True),
        ({1: 2, "1": 3}, {"1": 2}, False),
        ({"a": [1.0000000001]}, {"a": [1.0]}, True), ({1, 2}, {2, 1}, True), ([1, 2], {1, 2}, False),
        (Linked((1, 2)), [1, 2], True), (Tree((1, None, 2)), [1, None, 2], True), (Opaque("E"), 1, False),
        (Opaque("E"), Opaque("E"), False), ("x", ["x"], False), (["x"], "x", False),
    ],
)  # fmt: skip
def test_values_are_compared_by_structure_and_type(got: Any, want: Any, same: bool) -> None:
    assert same_value(got, want) is same


_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner)
    | st.frozensets(st.integers()),
    max_leaves=20,
)  # fmt: skip


@given(_PLAIN)
def test_plain_data_comes_back_as_it_went(value: Any) -> None:
    back = load(dump(value))
    assert back == value
    assert type(back) is type(value)


@given(st.binary(max_size=60))
def test_bytes_from_a_solution_never_raise_anything_else(data: bytes) -> None:
    try:
        load(data)
    except PlainError:
        pass


@pytest.mark.parametrize(
    "data",
    [b"[" * 10_000, b'{"t":' * 5_000, b'{"i":"zz"}', b'{"d":[[[],1]]}', b'{"a":1,"b":2}', b"1" * 10_000, b'{"x":1}',
     b'{"q":["Decimal","1e999999999999999999999999"]}', b'{"q":["Fraction","1/0"]}', b'{"b":"\\u1234"}'],
)  # fmt: skip
def test_malformed_results_are_refused(data: bytes) -> None:
    with pytest.raises(PlainError):
        load(data)


def test_a_long_expected_output_is_compared_whole_and_quickly(pool: JudgePool) -> None:
    right = (
        "import sys\nsys.stdout.write('7' * 99 + '\\n')\n" * 1
        + "for _ in range(30): sys.stdout.write(('x' * 999999) + '\\n')"
    )
    expected = "7" * 99 + "\n" + ("x" * 999_999 + "\n") * 30
    started = time.monotonic()
    assert pool.judge(right, parse_tests({"inputs": [""], "outputs": [expected]})).verdict == "AC"
    wrong = expected[:-2] + "y\n"
    assert pool.judge(right, parse_tests({"inputs": [""], "outputs": [wrong]})).verdict == "WA"
    assert time.monotonic() - started < 20


@pytest.mark.parametrize(
    "checker",
    [
        "def check(input, expected, output):\n    return sorted(output.split()) == sorted(expected.split())\n",
        "import sys\nfiles = [open(name).read() for name in sys.argv[1:]]\n"
        "print(1 if sorted(files[1].split()) == sorted(files[2].split()) else 0)\n",
    ],
)
def test_a_custom_checker_decides_in_its_own_sandbox(checker: str, pool: JudgePool) -> None:
    suite = parse_tests({"inputs": ["x"], "outputs": ["1 2 3"], "checker": checker})
    assert pool.judge("print('3 1 2')", suite).verdict == "AC"
    assert pool.judge("print('3 1 1')", suite).verdict == "WA"


def test_a_checker_that_fails_is_nobodys_wrong_answer(pool: JudgePool) -> None:
    suite = parse_tests({"inputs": ["x"], "outputs": ["1"], "checker": "def check(i, e, o):\n    raise ValueError\n"})
    assert pool.judge("print(1)", suite).verdict == "XX"


def test_an_output_that_a_working_checker_cannot_read_is_wrong(pool: JudgePool) -> None:
    checker = "def check(input, expected, output):\n    return int(output) == int(expected)\n"
    suite = parse_tests({"inputs": ["3"], "outputs": ["3"], "checker": checker})
    assert pool.judge("print('garbage')", suite).verdict == "WA"
    assert pool.judge("print(3)", suite).verdict == "AC"


@pytest.mark.parametrize("value", ["[10**5000]", "__import__('decimal').Decimal('sNaN')", "float('nan')"])
def test_a_value_that_cannot_be_compared_is_wrong(value: str, pool: JudgePool) -> None:
    suite = parse_tests({"fn_name": "f", "inputs": [[1]], "outputs": [[1]], "checker": "unordered"})
    assert pool.judge(f"def f(n):\n    return {value}\n", suite).verdict == "WA"
    suite = parse_tests({"functional": "assert f(1) == 2"})
    assert pool.judge(f"def f(n):\n    return {value}\n", suite).verdict == "WA"


def test_an_error_nobody_thought_of_is_one_programs_xx_and_not_the_end() -> None:
    def accept(_: bytes) -> bool:
        raise MemoryError("of the host")

    broken = TestSuite(tests=(StdinTest(b"", accept),))
    good = parse_tests({"inputs": [""], "outputs": ["1"]})
    with JudgePool(jobs=1) as own:
        first, second = own.judge_many([Job("print(1)", broken), Job("print(1)", good)])
    assert first.verdict == "XX"
    assert "MemoryError" in first.detail
    assert second.verdict == "AC"
