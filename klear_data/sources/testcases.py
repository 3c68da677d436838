"""The tests of a code problem, brought to one of the forms of the record (docs/curation.md lists them)."""

from __future__ import annotations

import json
import re
from typing import Any

from klear_data.sources.columns import Row, as_text, has_content, unquoted
from sandbox.lcb import unpack
from sandbox.types import TestsError

TEST_COLUMNS = ("tests", "test_cases", "input_output", "official_tests", "verification_info")
_LIVECODEBENCH = ("public_test_cases", "private_test_cases")
_LIMITS: dict[str, dict[str, float]] = {
    "time_limit": {"second": 1, "sec": 1, "": 1, "millisecond": 1e-3, "m": 1e-3},  # "s" and "ms" lose their s
    "memory_limit": {"megabyte": 1, "mb": 1, "mib": 1, "gigabyte": 1024, "gb": 1024, "kilobyte": 1 / 1024},
}
_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)")
_FORM_KEYS = ("inputs", "functional", "pytest")


def read_tests(row: Row) -> str | None:
    """The tests as a JSON string, ``None`` where the row has none.

    What is in no known form stays as the source has it, for a filter to drop with its reason.
    """
    if row.peek("test_list") is not None:
        return _mbpp(row)
    test = row.peek("test")
    if isinstance(test, str) and "def " in test:
        return _test_function(row, row.take("test"))
    if row.peek(*_LIVECODEBENCH) is not None:
        return _livecodebench(row)
    value = row.take(*TEST_COLUMNS)
    if value is None:
        return None
    tests = to_form(unquoted(value))
    if tests is None:
        return value if isinstance(value, str) else _json(value)
    return _json(_with_terms(row, tests) if isinstance(tests, dict) else tests)


def _with_terms(row: Row, tests: dict[str, Any]) -> dict[str, Any]:
    """The tests with the problem's limits and, for Codeforces, the checker that several right answers need."""
    if row.peek("input_mode") == "file" or row.peek("interaction_format") is not None:
        # Not stdin to stdout: kept in a form that the sandbox refuses as unsupported.
        return {key: row.peek(key) for key in ("input_mode", "interaction_format")}
    limits = {name: _number(row.peek(name), units) for name, units in _LIMITS.items()}
    checker = row.peek("generated_checker")
    checked = {"checker": row.take("generated_checker")} if isinstance(checker, str) and "\n" in checker else {}
    return {**tests, **{name: value for name, value in limits.items() if value is not None}, **checked}


def _number(value: object, units: dict[str, float]) -> float | None:
    """A limit as a number in klear's unit: a number is taken as it is, TACO writes ``2.0 seconds``.

    >>> _number("2.0 seconds", _LIMITS["time_limit"]), _number(256, _LIMITS["memory_limit"])
    (2.0, 256)
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    match = _AMOUNT.fullmatch(value.strip().lower()) if isinstance(value, str) else None
    unit = None if match is None else units.get(match[2].rstrip("s"))
    return None if match is None or unit is None else float(match[1]) * unit


def to_form(tests: Any) -> Any:
    """Parsed tests in a form of the record, ``None`` if they are in no known one.

    >>> to_form([{"input": "1", "output": "2"}])
    {'inputs': ['1'], 'outputs': ['2']}
    """
    if isinstance(tests, dict):
        if any(key in tests for key in _FORM_KEYS):
            return tests
        inner = tests.get("test_cases")  # PrimeIntellect wraps the list
        return to_form(unquoted(inner)) if inner is not None else None
    if isinstance(tests, str):
        return {"functional": tests} if "assert" in tests else None
    if not isinstance(tests, list) or not tests:
        return None
    if all(isinstance(test, str) for test in tests):
        return {"functional": tests}
    if all(isinstance(test, dict) and "input" in test and "output" in test for test in tests):
        return _cases(tests)
    return None


def _cases(cases: list[dict[str, Any]]) -> Any:
    if any("testtype" in case for case in cases):
        return cases
    columns = {"inputs": [case["input"] for case in cases], "outputs": [case["output"] for case in cases]}
    functions = {case.get("fn_name") for case in cases}
    name = functions.pop() if len(functions) == 1 else None
    return {"fn_name": name, **columns} if name else columns


def _livecodebench(row: Row) -> str:
    """Both of LiveCodeBench's lists as one, unpacked; the function's name goes into each test that calls it."""
    tests: list[Any] = []
    for column in _LIVECODEBENCH:
        packed = row.take(column)
        try:
            tests += [] if packed is None else unpack(packed)
        except TestsError:
            return as_text(packed)  # a filter drops it, with what is wrong
    metadata = unquoted(row.peek("metadata"))
    name = metadata.get("func_name") if isinstance(metadata, dict) else None
    if name is not None:
        tests = [{**test, "metadata": {"func_name": name}} if isinstance(test, dict) else test for test in tests]
    return _json(tests)


def _mbpp(row: Row) -> str:
    tests = unquoted(row.take("test_list"))
    if not isinstance(tests, list):
        return str(tests)
    setup = _setup(row)
    return _json({"functional": [f"{setup}{test}" for test in tests]})


def _setup(row: Row) -> str:
    """What an MBPP test needs before it: imports as a list of lines, or as one block of code."""
    setup = unquoted(row.peek("test_imports", "test_setup_code"))
    text = "\n".join(map(as_text, setup)) if isinstance(setup, list) else as_text(setup)
    return f"{text}\n" if text else ""


def _test_function(row: Row, test: str) -> str:
    """HumanEval's ``check`` with the call that HumanEval leaves to its harness; else a pytest module (KodCode).

    HumanEval's prompt goes along: answers may build on its imports and helpers.
    """
    entry_point = row.peek("entry_point")
    if entry_point is None:
        return _json({"pytest": test})
    return _json({"functional": f"{test.rstrip()}\n\n\ncheck({entry_point})\n", "prompt": row.peek("prompt")})


def first_test(row: Row) -> str | None:
    """The first test of an MBPP row, which is where its function gets its name."""
    tests = unquoted(row.peek("test_list"))
    return tests[0] if isinstance(tests, list) and tests and isinstance(tests[0], str) else None


def looks_like_tests(text: str) -> bool:
    """True if a gold is tests of a code problem, by its keys."""
    parsed = unquoted(text)
    return parsed is not text and not isinstance(parsed, str) and has_content(parsed) and _is_form(parsed)


def _is_form(parsed: Any) -> bool:
    if isinstance(parsed, dict):
        return any(key in parsed for key in _FORM_KEYS)
    return all(isinstance(test, dict) and "input" in test for test in parsed)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
