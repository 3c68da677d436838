"""Custom checker programs: the solution's output judged by a program of the problem, in a sandbox of its own.

Two forms, both Python: a function ``check(input, expected, output)`` returning a truth value, or a program
that gets three file names as arguments (input, expected output, the solution's output) and prints a score;
a score above 0 or, where nothing is printed, exit status 0 is a pass.
"""

from __future__ import annotations

import dataclasses
import re

from sandbox import plain
from sandbox.outcomes import how_it_ended
from sandbox.types import CaseResult, CheckerTest, SandboxError
from sandbox.worker import CompileError, Server, Zygote

_FUNCTION = re.compile(r"^def check\(", re.MULTILINE)
_YES, _NO = ("ok", "ac", "accepted", "true", "yes"), ("wa", "wrong", "false", "no")


def run_checker(solution: Server, test: CheckerTest) -> CaseResult:
    """Run the solution, then the checker on what it printed.

    Raises:
        SandboxError: the checker itself fails or says something that is no score.
    """
    outcome = solution.run(b"i", test.stdin)
    verdict, detail = how_it_ended(outcome, solution.limits)
    if verdict == "AC" and not _accepts_or_chokes(solution, test, outcome.output):
        verdict, detail = "WA", "the checker rejects the output"
    return CaseResult(verdict, outcome.cpu_s, outcome.wall_s, detail)


class _CheckerFailedError(SandboxError):
    """The checker itself raised, ran too long or said something that is no score."""


def _accepts_or_chokes(solution: Server, test: CheckerTest, output: bytes) -> bool:
    """A checker that fails on an output but accepts the expected one has met an output it cannot read."""
    try:
        return _accepts(solution, test, output)
    except _CheckerFailedError:
        if not _accepts(solution, test, test.expected):
            raise
        return False


def _accepts(solution: Server, test: CheckerTest, output: bytes) -> bool:
    as_function = bool(_FUNCTION.search(test.checker))
    size = (len(test.stdin) + len(test.expected) + len(output) >> 20) + 2
    limits = dataclasses.replace(
        solution.limits, scratch_mib=0 if as_function else size, output_mib=max(size, solution.limits.output_mib)
    )
    zygote = solution.zygote
    if not as_function:
        zygote = Zygote("python", level=solution.zygote.level, scratch_mib=size)
    try:
        checker = Server(zygote, test.checker.encode(), language="python", limits=limits)
    except CompileError as error:
        raise SandboxError(f"the checker does not compile: {error}") from error
    try:
        return _ask_function(checker, test, output) if as_function else _ask_program(checker, test, output)
    finally:
        checker.close()
        if zygote is not solution.zygote:
            zygote.close()


def _ask_function(checker: Server, test: CheckerTest, output: bytes) -> bool:
    args = [data.decode("utf-8", "replace") for data in (test.stdin, test.expected, output)]
    outcome = checker.run(b"c", plain.dump([["check", args, []]]))
    verdict, detail = how_it_ended(outcome, checker.limits)
    if verdict != "AC" or outcome.result[:1] != b"V":
        raise _CheckerFailedError(f"the checker failed: {verdict} {detail}")
    try:
        return bool(plain.load(outcome.result[1:])[0])
    except plain.PlainError as error:
        raise _CheckerFailedError(f"the checker returned no truth value: {error}") from error


def _ask_program(checker: Server, test: CheckerTest, output: bytes) -> bool:
    outcome = checker.run(b"k", plain.dump([test.stdin, test.expected, output]))
    said = outcome.output.decode("utf-8", "replace").split()
    if outcome.signal or outcome.hit_wall:
        raise _CheckerFailedError(f"the checker failed: {how_it_ended(outcome, checker.limits)}")
    if not said:
        return outcome.exit_code == 0
    first = said[0].lower().rstrip(":,.")
    if first in _YES or first in _NO:
        return first in _YES
    try:
        return outcome.exit_code == 0 and float(said[-1]) > 0
    except ValueError as error:
        raise _CheckerFailedError(f"the checker says {said[-1][:40]!r}; expected a score") from error
