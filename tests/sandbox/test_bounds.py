"""Nothing that a program chooses makes the host work for long: bytes, keys, numbers, a line of its source."""

from __future__ import annotations

import ast
import time
from fractions import Fraction
from typing import Any

import pytest

from sandbox import plain, pure
from sandbox.bounds import MAX_KEYS, MAX_NODES, CostError
from sandbox.imports import kind_for
from sandbox.pure import Evaluator

_HASHES_TO_ZERO = (1 << 61) - 1


def _evaluated(expression: str, x: Any) -> Any:
    return Evaluator({"x": x})(ast.parse(expression, mode="eval").body)


@pytest.mark.parametrize("program", ["import" + " " * 200_000, "import " + "a," * 200_000, "\n" * 200_000 + "from"])
def test_the_search_for_imports_takes_linear_time(program: str) -> None:
    started = time.monotonic()
    assert kind_for(program) == "python"
    assert time.monotonic() - started < 1
    assert kind_for(program + "\n  from\tnumpy import array") == "numpy"


def test_large_and_nested_keys_are_bounded_together_and_small_ones_are_not() -> None:
    plain.load(plain.dump(set(range(MAX_KEYS * 5))))
    plain.load(plain.dump({str(k) for k in range(MAX_KEYS * 5)}))
    plain.load(plain.dump([{k << 30: 0} for k in range(MAX_KEYS * 2)]))  # many tables, each small
    for keys in (
        [k << 30 for k in range(MAX_KEYS + 9)],
        [k + 0.5 for k in range(MAX_KEYS + 9)],
        [(k, k) for k in range(MAX_KEYS // 3 + 9)],
        [frozenset((k, "a")) for k in range(MAX_KEYS // 2 + 9)],
        [Fraction(k, 3) for k in range(MAX_KEYS // 4)],
    ):
        with pytest.raises(plain.PlainError, match="share a hash"):
            plain.load(plain.dump(set(keys)))


def test_the_largest_colliding_set_that_is_let_through_is_built_quickly() -> None:
    data = plain.dump([_HASHES_TO_ZERO * k for k in range(1, MAX_KEYS)])
    started = time.monotonic()
    assert len(_evaluated("set(x)", plain.load(data))) == MAX_KEYS - 1
    assert time.monotonic() - started < 8


def test_values_are_counted_before_they_are_decoded_but_not_inside_texts() -> None:
    text = "[," * MAX_NODES + '\\"'
    assert plain.load(plain.dump([text])) == [text]
    with pytest.raises(plain.PlainError, match="too many values"):
        plain.load(b"[" + b"[]," * MAX_NODES + b"0]")
    with pytest.raises(plain.PlainError, match="too many values"):
        plain.dump([0] * (MAX_NODES + 1))
    started = time.monotonic()
    with pytest.raises(plain.PlainError):
        plain.load(b'"' + b'\\",' * MAX_NODES)  # a text that never ends
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    "expression",
    ["set(x)", "{*x}", "{y for y in x}", "{y: 1 for y in x}", "dict((y, 1) for y in x)", "Counter(x)", "frozenset(x)",
     "sorted(set(x))", "{1}.union(x)", "dict(zip(x, x))"],
)  # fmt: skip
def test_a_table_made_of_a_returned_list_is_paid_for_in_advance(expression: str) -> None:
    with pytest.raises(CostError):
        _evaluated(expression, [_HASHES_TO_ZERO * k for k in range(MAX_KEYS + 9)])
    assert len(_evaluated(expression, [3, 1, 2])) >= 3


@pytest.mark.parametrize(
    ("expression", "x"),
    [("2 ** x", 10**9), ("2 ** x", Fraction(10**9)), ("x ** 1000000000", Fraction(3, 2)), ("'a' * x", 10**12),
     ("[0] * x", 10**12), ("x[0] * x[0]", [1 << 399_999]), ("bytes(x)", 10**12), ("round(5, x)", -(10**12)),
     ("range(x)", 10**12), ("type(x)('1e400000000')", Fraction(1)),
     ("sum(x)", [Fraction(1, (1 << 521) + 2 * k + 1) for k in range(2_000)])],
)  # fmt: skip
def test_one_operation_cannot_be_made_long_by_a_returned_value(expression: str, x: Any) -> None:
    started = time.monotonic()
    with pytest.raises(Exception, match=r"large|long|unknown"):
        _evaluated(expression, x)
    assert time.monotonic() - started < 5


def test_operations_that_are_each_allowed_end_when_their_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pure, "_MOST_CPU_S", 0.5)
    data = list(range(1_000_000))
    started = time.thread_time()
    with pytest.raises(Exception, match="long computation"):
        _evaluated("[y for y in x if -1 in x]", data)
    assert time.thread_time() - started < 2


def test_sums_are_pythons() -> None:
    assert _evaluated("sum(x)", [1, 2.5]) == 3.5
    assert _evaluated("sum(x, [])", [[1], [2]]) == [1, 2]
    assert _evaluated("sum(x)", [Fraction(1, 2), Fraction(1, 3)]) == Fraction(5, 6)
