"""The test formats of the field's data sets, read into one form (contract, section 3)."""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence
from typing import Any

from sandbox import lcb
from sandbox.asserts import tests_of_scripts
from sandbox.checkers import CHECKERS, DEFAULT_TOLERANCE, same_value, text_checker
from sandbox.plain import dump
from sandbox.types import AllOf, Call, CallTest, CheckerTest, StdinTest, Test, TestsError, TestSuite

_LARGEST_EXPECTED = 256 << 20


def parse_tests(
    ground_truth: str | list[Any] | dict[str, Any], *, entry_point: str | None = None, prompt: str = ""
) -> TestSuite:
    """Read the tests of a problem.

    Args:
        ground_truth: one of the formats of ``docs/sandbox.md``, as JSON (or Python literal) text or parsed.
        entry_point: the function under test, for HumanEval-style ``check(candidate)``.
        prompt: source that solutions complete or build on (HumanEval's prompt).

    Raises:
        TestsError: no tests, or none that can be used; ``reason`` is a word for tables.
    """
    try:
        return _parsed(ground_truth, entry_point, prompt)
    except TestsError:
        raise
    except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, SyntaxError, RecursionError) as error:
        raise TestsError(f"tests: cannot be used: {type(error).__name__}: {str(error)[:120]}") from error


def _parsed(ground_truth: str | list[Any] | dict[str, Any], entry_point: str | None, prompt: str) -> TestSuite:
    data = _read(ground_truth) if isinstance(ground_truth, str | bytes) else ground_truth
    if isinstance(data, list):
        data = {"tests": data}
    if not isinstance(data, dict):
        raise TestsError(f"tests: {type(data).__name__} found; expected a JSON object or array")
    if isinstance(data.get("tests"), dict):
        data = {**data, **data["tests"]}
    options = _Options(data)
    entry = _text(data, "entry_point") or entry_point
    tests = _tests(data, options, entry)
    if not tests:
        raise TestsError("tests: none found; expected at least one", reason="no_tests")
    if options.limit_expected(tests):
        raise TestsError(f"tests: an expected output above {_LARGEST_EXPECTED >> 20} MiB")
    for test in tests:
        for part in test.parts if isinstance(test, AllOf) else (test,):
            if isinstance(part, CallTest):
                part.request()  # arguments that cannot be sent are found here and not with every program
    return TestSuite(
        tests=tuple(tests), prompt=_text(data, "prompt") or prompt, entry_point=entry,
        time_limit_s=options.time_limit_s, memory_mib=options.memory_mib,
    )  # fmt: skip


class _Options:
    """The optional keys of a problem's tests, checked."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.time_limit_s = _positive(data, "time_limit")
        memory = _positive(data, "memory_limit")
        self.memory_mib = None if memory is None else int(memory)
        checker = data.get("checker") or "tokens"
        if not isinstance(checker, str):
            raise TestsError(f"tests: checker is {type(checker).__name__}; expected a name or a program")
        checker.encode()
        self.program = checker if "\n" in checker else None
        if self.program is None and checker not in CHECKERS:
            raise TestsError(f"tests: checker {checker!r}; expected one of {', '.join(CHECKERS)} or a program",
                             reason="tests_unsupported")  # fmt: skip
        self.checker = checker
        self.tolerance = _positive(data, "float_tolerance")

    def stdin_test(self, given: str, expected: str) -> Test:
        stdin, wanted = (text.encode("utf-8", "surrogatepass") for text in (given, expected))
        if self.program is not None:
            return CheckerTest(stdin, wanted, self.program)
        return StdinTest(stdin, text_checker(wanted, self.checker, tolerance=self.tolerance), len(wanted))

    def call_test(self, call: Call, expected: Sequence[Any]) -> CallTest:
        tolerance = DEFAULT_TOLERANCE if self.tolerance is None else self.tolerance
        if self.checker == "unordered":
            expected = [_sorted(value) for value in expected]

        def accept(values: list[Any]) -> bool:
            got = _sorted(values[0]) if self.checker == "unordered" else values[0]
            return any(same_value(got, want, tolerance=tolerance) for want in expected)

        return CallTest((call,), accept)

    @staticmethod
    def limit_expected(tests: list[Test]) -> bool:
        return any(isinstance(test, StdinTest) and test.expected_bytes > _LARGEST_EXPECTED for test in tests)


def _tests(data: dict[str, Any], options: _Options, entry: str | None) -> list[Test]:
    if "inputs" in data or "outputs" in data:
        return _input_output(data, options)
    for key in ("functional", "test", "pytest", "test_list"):
        if data.get(key):
            setup = [_text(data, "test_setup_code"), *(data.get("test_imports") or [])]
            return tests_of_scripts(
                data[key], entry_point=entry, setup="\n".join(line for line in setup if line),
                is_pytest=key == "pytest",
            )  # fmt: skip
    if "tests" in data or "private_test_cases" in data or "public_test_cases" in data:
        return _listed(data, options, entry)
    found = ", ".join(sorted(map(str, data))[:6]) or "nothing"
    raise TestsError(f"tests: keys {found}; expected inputs/outputs, functional, pytest or a list of tests",
                     reason="no_tests" if not data else "tests_unsupported")  # fmt: skip


def _input_output(data: dict[str, Any], options: _Options) -> list[Test]:
    inputs, outputs = data.get("inputs"), data.get("outputs")
    if not isinstance(inputs, list) or not isinstance(outputs, list):
        raise TestsError("tests: inputs and outputs must both be arrays")
    if len(inputs) != len(outputs):
        raise TestsError(
            f"tests: {len(inputs)} inputs and {len(outputs)} outputs; expected as many", reason="tests_unequal"
        )
    name = data.get("fn_name")
    if not name:
        return [
            options.stdin_test(_joined(given, "inputs"), _joined(expected, "outputs"))
            for given, expected in zip(inputs, outputs, strict=True)
        ]
    outputs = [_literal(value) for value in outputs]
    # APPS and TACO wrap most expected values in a one-element array; which of them do can only be guessed.
    wrapped = all(isinstance(value, list) and len(value) == 1 for value in outputs)
    return [
        options.call_test(Call(str(name), tuple(_arguments(given))), [value, value[0]] if wrapped else [value])
        for given, value in zip(inputs, outputs, strict=True)
    ]


def _listed(data: dict[str, Any], options: _Options, entry: str | None) -> list[Test]:
    """LiveCodeBench's list of tests, or a list of assert strings."""
    items: list[Any] = []
    for key in ("tests", "public_test_cases", "private_test_cases"):
        items += lcb.unpack(data[key]) if data.get(key) else []
    if items and all(isinstance(item, str) for item in items):
        return tests_of_scripts(items, entry_point=entry, setup="", is_pytest=False)
    name = data.get("fn_name") or entry
    return [_one_listed(item, index, options, name) for index, item in enumerate(items)]


def _one_listed(item: Any, index: int, options: _Options, name: Any) -> Test:
    if not isinstance(item, dict) or not {"input", "output"} <= item.keys():
        raise TestsError(f"tests[{index}]: expected an object with input and output")
    metadata = item.get("metadata") or {}
    if isinstance(metadata, str):
        metadata = _read(metadata)
    function = (metadata.get("func_name") if isinstance(metadata, dict) else None) or item.get("fn_name") or name
    kind = item.get("testtype") or item.get("type") or ("functional" if function else "stdin")
    if kind in ("stdin", "stdin_stdout"):
        return options.stdin_test(_joined(item["input"], "input"), _joined(item["output"], "output"))
    if kind not in ("functional", "function_call"):
        raise TestsError(f"tests[{index}]: testtype {kind!r}; expected stdin or functional",
                         reason="tests_unsupported")  # fmt: skip
    if not function:
        raise TestsError(f"tests[{index}]: a functional test without metadata.func_name")
    given = item["input"]
    args = [_literal(line) for line in given.split("\n") if line.strip()] if isinstance(given, str) else given
    return options.call_test(Call(str(function), tuple(_arguments(args))), [_literal(item["output"])])


def _arguments(given: Any) -> list[Any]:
    values = _literal(given)
    if not isinstance(values, list | tuple):
        values = [values]
    return [_with_int_keys(value) for value in values]


def _with_int_keys(value: Any) -> Any:
    """JSON has no integer keys: an object whose keys all read as integers had them before."""
    if isinstance(value, dict):
        items = {key: _with_int_keys(inner) for key, inner in value.items()}
        if items and all(isinstance(key, str) and key.removeprefix("-").isdecimal() and len(key) < 19 for key in items):
            return {int(key): inner for key, inner in items.items()}
        return items
    return [_with_int_keys(inner) for inner in value] if isinstance(value, list) else value


def _literal(value: Any) -> Any:
    """A value given as JSON or Python text; text that is neither stays text."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(value.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return value


def _read(text: str | bytes) -> Any:
    if not text.strip():
        raise TestsError("tests: empty; expected JSON", reason="no_tests")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        try:
            return ast.literal_eval(text.decode() if isinstance(text, bytes) else text)
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
            raise TestsError(f"tests: not JSON: {str(error)[:120]}") from error


def _joined(value: Any, where: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n".join(_joined(item, where) for item in value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TestsError(f"tests: {where} holds {type(value).__name__}; expected text or a list of lines")
    return str(value)


def _sorted(value: Any) -> Any:
    """In an order that values of every kind have; by their encoding, since ``repr`` refuses long integers."""
    return sorted(value, key=dump) if isinstance(value, list | tuple) else value


def _positive(data: dict[str, Any], key: str) -> float | None:
    value = data.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e6:
        raise TestsError(f"tests: {key} is {value!r}; expected a positive number")
    return float(value)


def _text(data: dict[str, Any], key: str) -> str:
    value = data.get(key) or ""
    if not isinstance(value, str):
        raise TestsError(f"tests: {key} is {type(value).__name__}; expected text")
    value.encode()  # half a surrogate pair is no source text
    return value
