"""One program on all its tests: run, look at how it ended, compare outside."""

from __future__ import annotations

import ast
import dataclasses
import math
import re
import time
from collections.abc import Callable
from typing import Any

from sandbox import plain
from sandbox.checking import run_checker
from sandbox.duet import run_script
from sandbox.outcomes import how_it_ended
from sandbox.types import (
    CallTest,
    CaseResult,
    CheckerTest,
    Judgement,
    Language,
    Limits,
    ScriptTest,
    StdinTest,
    Test,
    TestSuite,
    Verdict,
    judgement_of,
)  # fmt: skip
from sandbox.worker import CompileError, Outcome, Server, Zygote

_LARGEST_PROGRAM = 4 << 20


def limits_for(suite: TestSuite, limits: Limits, language: Language = "python") -> Limits:
    """The caller's limits, with the problem's own where it has some and room for a large input or output."""
    largest = max((max(len_expected(test), len(getattr(test, "stdin", b""))) for test in suite.tests), default=0)
    needed = math.ceil(1.25 * largest / (1 << 20)) + 1
    return dataclasses.replace(
        limits, time_limit_s=suite.time_limit_s or limits.time_limit_s,
        memory_mib=max(suite.memory_mib or 0, limits.memory_mib),
        output_mib=max(limits.output_mib, needed),
    )  # fmt: skip


def len_expected(test: Test) -> int:
    """Bytes of output that a test expects, 0 where it expects a value."""
    if isinstance(test, StdinTest):
        return test.expected_bytes
    return len(test.expected) if isinstance(test, CheckerTest) else 0


def judge_program(
    program: str, suite: TestSuite, *, zygote: Zygote, limits: Limits, language: Language = "python"
) -> Judgement:
    """Judge a program: every test, each in a fresh process.

    Raises:
        SandboxError: the machinery failed.
    """
    started = time.monotonic()
    limits = limits_for(suite, limits, language)
    try:
        source = whole_program(program, suite).encode()
        if len(source) > _LARGEST_PROGRAM:
            raise CompileError(f"a program of {len(source) >> 20} MiB; at most {_LARGEST_PROGRAM >> 20} are read")
        server = Server(zygote, source, language=language, limits=limits)
    except (CompileError, UnicodeEncodeError) as error:
        case = CaseResult("CE", detail=str(error)[:300])
        return dataclasses.replace(judgement_of([case], wall_s=time.monotonic() - started), total=len(suite), cases=())
    try:
        cases = [run_test(server, test) for test in suite.tests]
    finally:
        server.close()
        zygote.sweep()
    return judgement_of(cases, wall_s=time.monotonic() - started)


def whole_program(program: str, suite: TestSuite) -> str:
    """The program with the problem's prompt before it, where it has one.

    A program that defines the function itself gets the prompt for its helpers and imports (if it is complete
    Python); any other is taken as the continuation of the prompt, as HumanEval means it.
    """
    if not suite.prompt:
        return program
    name = re.escape(suite.entry_point or "")
    if not re.search(rf"^(async )?(def|class) {name}\b", program, re.MULTILINE):
        return suite.prompt + program
    try:
        ast.parse(suite.prompt)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return program
    return f"{suite.prompt}\n{program}"


def run_test(server: Server, test: Test) -> CaseResult:
    """Run one test and judge its outcome."""
    if isinstance(test, StdinTest):
        return verdict_on_output(server.run(b"i", test.stdin), test.accept, server.limits)
    if isinstance(test, CallTest):
        return _run_calls(server, test)
    if isinstance(test, ScriptTest):
        return run_script(server, test)
    if isinstance(test, CheckerTest):
        return run_checker(server, test)
    return _all_of([run_test(server, part) for part in test.parts])


def _all_of(cases: list[CaseResult]) -> CaseResult:
    worst = next((case for case in cases if case.verdict != "AC"), cases[0])
    return CaseResult(
        worst.verdict, sum(case.cpu_s for case in cases), sum(case.wall_s for case in cases), worst.detail,
        weak=any(case.weak for case in cases),
    )  # fmt: skip


def verdict_on_output(outcome: Outcome, accept: Callable[[bytes], bool], limits: Limits) -> CaseResult:
    """The verdict on a program that prints."""
    verdict, detail = how_it_ended(outcome, limits)
    if verdict == "AC" and not _accepted(accept, outcome.output):
        verdict, detail = "WA", "wrong output"
    return CaseResult(verdict, outcome.cpu_s, outcome.wall_s, detail)


def _run_calls(server: Server, test: CallTest) -> CaseResult:
    outcome = server.run(b"c", test.request())
    verdict, detail = how_it_ended(outcome, server.limits)
    if verdict == "AC":
        verdict, detail = _verdict_on_values(outcome.result, test)
    return CaseResult(verdict, outcome.cpu_s, outcome.wall_s, detail)


def _verdict_on_values(result: bytes, test: CallTest) -> tuple[Verdict, str]:
    if result[:1] != b"V":
        return "RE", "ended without returning"
    try:
        values = plain.load(result[1:])
    except plain.PlainError as error:
        return "WA", str(error)
    if not isinstance(values, list) or len(values) != len(test.calls):
        return "WA", "returned something else than it was asked for"
    return ("AC", "") if _accepted(test.accept, values) else ("WA", "wrong value")


def _accepted(accept: Callable[[Any], bool], answer: Any) -> bool:
    """What cannot even be compared (a signalling NaN, an integer too long to be printed) is not accepted."""
    try:
        return accept(answer)
    except MemoryError:  # the host's, and no fault of the answer
        raise
    except Exception:  # noqa: BLE001  whatever the comparison raises, the answer brought it about
        return False
