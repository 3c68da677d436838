"""The words of the sandbox: limits, tests, outcomes, judgements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sandbox import plain

Verdict = Literal["AC", "WA", "RE", "TL", "ML", "OL", "CE", "XX"]
Language = Literal["python", "cpp"]


class TestsError(ValueError):
    """The tests of a problem cannot be used; ``reason`` is a word for tables.

    Attributes:
        reason: ``no_tests``, ``tests_malformed``, ``tests_unequal`` or ``tests_unsupported``.
    """

    __test__ = False  # not a test class, whatever pytest makes of the name

    def __init__(self, message: str, *, reason: str = "tests_malformed") -> None:
        super().__init__(message)
        self.reason = reason


class IsolationError(RuntimeError):
    """This host cannot hold a program in, and nobody said that this is all right."""


class SandboxError(RuntimeError):
    """The machinery failed; says nothing about the program (verdict ``XX``)."""


@dataclass(frozen=True)
class Limits:
    """What one test may use.

    Attributes:
        time_limit_s: CPU seconds, all threads together: the verdict ``TL``.
        wall_limit_s: seconds on the clock, for programs that sleep; ``None``: 3 × CPU limit + 2.
        memory_mib: address space (virtual); numpy gets twice as much.
        output_mib: bytes written to standard output, in MiB.
        threads: threads at a time.
        open_files: file descriptors.
        compile_s: CPU seconds for compiling the program.
        scratch_mib: size of a private writable ``/tmp``, 0 for none.
    """

    time_limit_s: float = 6.0
    wall_limit_s: float | None = None
    memory_mib: int = 1024
    output_mib: int = 16
    threads: int = 32
    open_files: int = 64
    compile_s: int = 10
    scratch_mib: int = 0

    @property
    def wall_s(self) -> float:
        return 3 * self.time_limit_s + 2 if self.wall_limit_s is None else self.wall_limit_s


@dataclass(frozen=True)
class StdinTest:
    """Run the program on ``stdin``; ``accept`` sees what it printed (bytes)."""

    stdin: bytes
    accept: Callable[[bytes], bool]
    expected_bytes: int = 0


@dataclass(frozen=True)
class Call:
    """``function(*args, **kwargs)`` in the solution's name space; ``function`` may be ``Solution().f``."""

    function: str
    args: tuple[Any, ...] = ()
    kwargs: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True)
class CallTest:
    """Make some calls in one fresh process; ``accept`` sees what they returned, as plain data."""

    calls: tuple[Call, ...]
    accept: Callable[[list[Any]], bool]

    def request(self) -> bytes:
        """The calls as the sandbox reads them.

        Raises:
            PlainError: arguments too deep or too large.
        """
        return plain.dump([(call.function, list(call.args), [list(pair) for pair in call.kwargs])
                           for call in self.calls])  # fmt: skip


@dataclass(frozen=True)
class ScriptTest:
    """A test script that calls the solution while it runs (two processes, or one where it must be).

    Attributes:
        source: Python; its last statement is what is tested, an exception is a failure.
        names: the solution's names that the script uses.
    """

    source: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class CheckerTest:
    """Run on ``stdin``, then let a checker program (in its own sandbox) judge the output."""

    stdin: bytes
    expected: bytes
    checker: str


@dataclass(frozen=True)
class AllOf:
    """Several parts that count as one test; each runs in its own process."""

    parts: tuple[CallTest | ScriptTest, ...]


Test = StdinTest | CallTest | ScriptTest | CheckerTest | AllOf


@dataclass(frozen=True)
class TestSuite:
    """The tests of one problem.

    Attributes:
        tests: in the order given.
        prompt: source that the solution completes or builds on (HumanEval), put before it.
        time_limit_s, memory_mib: the problem's own limits, ``None`` where it has none.
    """

    __test__ = False

    tests: tuple[Test, ...]
    prompt: str = ""
    entry_point: str | None = None
    time_limit_s: float | None = None
    memory_mib: int | None = None

    def __len__(self) -> int:
        return len(self.tests)

    @property
    def sources(self) -> set[str]:
        """Program texts of the problem: its prompt, test scripts, checkers."""
        parts = [part for test in self.tests for part in (test.parts if isinstance(test, AllOf) else (test,))]
        scripts = {part.source for part in parts if isinstance(part, ScriptTest)}
        return {self.prompt} | scripts | {part.checker for part in parts if isinstance(part, CheckerTest)}

    @property
    def reads_stdin(self) -> bool:
        return all(isinstance(test, StdinTest | CheckerTest) for test in self.tests)


@dataclass(frozen=True)
class CaseResult:
    """One test's outcome.

    Attributes:
        verdict: of this test.
        cpu_s, wall_s: used by the solution's process.
        detail: why, in a few words (an exception, a signal); never the expected output.
        weak: tests and solution shared an interpreter, so the solution could have forged this.
    """

    verdict: Verdict
    cpu_s: float = 0.0
    wall_s: float = 0.0
    detail: str = ""
    weak: bool = False


@dataclass(frozen=True)
class Judgement:
    """One program on all its tests. ``verdict`` is ``AC`` or that of the first test that failed."""

    verdict: Verdict
    passed: int
    total: int
    cases: tuple[CaseResult, ...] = ()
    weak: bool = False
    cpu_s: float = 0.0
    wall_s: float = 0.0
    detail: str = ""


def judgement_of(cases: Sequence[CaseResult], *, wall_s: float) -> Judgement:
    """Put the tests' outcomes together; one ``XX`` makes the whole ``XX``."""
    verdict: Verdict = "AC"
    detail = ""
    for case in cases:
        if case.verdict == "XX" or (verdict == "AC" and case.verdict != "AC"):
            verdict, detail = case.verdict, case.detail
        if verdict == "XX":
            break
    return Judgement(
        verdict=verdict, passed=sum(case.verdict == "AC" for case in cases), total=len(cases),
        cases=tuple(cases), weak=any(case.weak for case in cases), cpu_s=sum(case.cpu_s for case in cases),
        wall_s=wall_s, detail=detail,
    )  # fmt: skip
