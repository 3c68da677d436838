"""Code rewards: the share of its tests that a completion's program passes (Klear-Reasoner §3.2.1, §5.2.3)."""

from __future__ import annotations

import dataclasses
import hashlib
import random
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

from klear_data.reward.code_block import LanguageChoice, extract_code
from klear_data.reward.scheme import Scheme, Verdict, reward_of
from klear_data.reward.think import MissingTag, ThinkMode, split_think
from klear_data.stage import Drop
from sandbox.formats import parse_tests
from sandbox.judge import len_expected
from sandbox.pool import Job, JudgePool
from sandbox.types import CheckerTest, Judgement, Language, Limits, StdinTest, Test, TestsError, TestSuite

__all__ = ["CodeRewarder", "extract_code"]

_REMEMBERED = 50_000
_RECORDS_AHEAD, _SUITES_KEPT = 256, 128
_PROGRAMS_AHEAD = 8  # a job: enough to keep the workers busy; an interrupted run waits for all of them
_SUITES_BYTES = 256 << 20
_NO_TESTS = TestSuite(tests=())


@dataclass(frozen=True)
class _Tests:
    """A problem's tests and the digest that stands for them in the memory of judgements."""

    suite: TestSuite
    digest: bytes
    size_bytes: int = 0


@dataclass(frozen=True)
class _Pending:
    """A completion whose program is being judged, or that needs no judging."""

    judged: Future[Judgement] | None
    verdict: Verdict
    missing: MissingTag | None
    total: int


def _size_bytes(test: Test) -> int:
    """Input and expected output, which packed tests hold many times smaller; values are as large as their text."""
    return len(test.stdin) + len_expected(test) if isinstance(test, StdinTest | CheckerTest) else 0


class CodeRewarder:
    """Judges completions; a context manager around warm sandboxes.

    Args:
        jobs: programs judged at a time.
        scheme, think: see `klear_data.reward.scheme` and `klear_data.reward.think`.
        time_limit_s: CPU seconds a test, where the problem has no limit of its own.
        memory_mib: address space of a test's process.
        max_tests: judge on at most so many tests, drawn with ``seed``, the same for every rollout.
        language: which code blocks count.
        use_tests: with ``False`` programs are only compiled. Missing tags, a missing block and a program
            that does not compile get their reward; all others get none (``XX``, ``null``), since nothing
            is known about them: syntax alone must not be rewarded.
        allow_weak: accept a host that can only limit resources.

    Attributes:
        verdicts: how many rollouts got each verdict.
        tests_run: tests that were run (not those remembered).
        remembered: rollouts judged from memory, an equal program having met the same tests before.
        weak: rollouts some of whose tests had to share an interpreter with the program.

    Raises:
        sandbox.IsolationError: on entering, where this host cannot hold programs in.
    """

    def __init__(
        self, jobs: int = 1, scheme: Scheme = "paper", think: ThinkMode = "full", *, time_limit_s: float = 6.0,
        memory_mib: int = 1024, max_tests: int | None = None, seed: int = 0, language: LanguageChoice = "auto",
        use_tests: bool = True, allow_weak: bool = False,
    ) -> None:  # fmt: skip
        self.scheme, self.think, self.language, self.use_tests = scheme, think, language, use_tests
        self.max_tests, self.seed = max_tests, seed
        limits = Limits(time_limit_s=time_limit_s, memory_mib=memory_mib)
        self._pool = JudgePool(jobs=jobs, limits=limits, allow_weak=allow_weak)
        self._jobs = jobs
        self._lock = threading.Lock()
        self._memory: OrderedDict[bytes, Future[Judgement]] = OrderedDict()
        self._suites: OrderedDict[bytes, _Tests] = OrderedDict()
        self._suites_bytes = 0
        self.verdicts: Counter[str] = Counter()
        self.tests_run = self.remembered = self.weak = 0

    def __enter__(self) -> CodeRewarder:
        self._pool.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.close()

    def reward_records(self, records: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any] | Drop]:
        """Records with a reward in each rollout, in order, reading a bounded number ahead.

        Math records pass through untouched. A record whose tests cannot be used becomes a `Drop` with a
        reason (``no_tests``, ``tests_malformed``, ``tests_unequal``, ``tests_unsupported``).
        """
        waiting: deque[tuple[dict[str, Any] | Drop, list[_Pending]]] = deque()
        programs = 0
        for record in records:
            started = self._start_record(record)
            waiting.append(started)
            programs += len(started[1])
            while len(waiting) > _RECORDS_AHEAD or programs > _PROGRAMS_AHEAD * self._jobs:
                record_out, pending = waiting.popleft()
                programs -= len(pending)
                yield self._finish_record(record_out, pending)
        while waiting:
            yield self._finish_record(*waiting.popleft())

    def reward_one(self, ground_truth: str, completion: str) -> dict[str, Any]:
        """The reward keys of one completion; may be called from any thread.

        Raises:
            sandbox.TestsError: the tests cannot be used.
        """
        return self._finish(self._start(self._tests(ground_truth), completion))

    def _start_record(self, record: dict[str, Any]) -> tuple[dict[str, Any] | Drop, list[_Pending]]:
        if record.get("ability") != "code":
            return record, []
        try:
            tests = self._tests(record["reward_model"]["ground_truth"])
        except TestsError as error:
            return Drop(record, error.reason, {"detail": str(error)}), []
        return record, [self._start(tests, rollout["completion"]) for rollout in record.get("rollouts") or []]

    def _finish_record(self, record: dict[str, Any] | Drop, pending: list[_Pending]) -> dict[str, Any] | Drop:
        if isinstance(record, Drop) or not pending:
            return record
        rollouts = zip(record["rollouts"], pending, strict=True)
        return {**record, "rollouts": [{**rollout, **self._finish(entry)} for rollout, entry in rollouts]}

    def _tests(self, ground_truth: str) -> _Tests:
        if not self.use_tests:
            return _Tests(_NO_TESTS, b"")
        digest = hashlib.sha256(ground_truth.encode("utf-8", "surrogatepass")).digest()
        with self._lock:
            if digest in self._suites:
                return self._suites[digest]
        suite = parse_tests(ground_truth)
        if self.max_tests is not None and len(suite) > self.max_tests:
            draw = random.Random(f"{self.seed}:{digest.hex()}")
            chosen = sorted(draw.sample(range(len(suite)), self.max_tests))
            suite = replace(suite, tests=tuple(suite.tests[index] for index in chosen))
        tests = _Tests(suite, digest, max(len(ground_truth), sum(map(_size_bytes, suite.tests))))
        with self._lock:
            self._suites_bytes += tests.size_bytes - self._suites.pop(digest, _Tests(_NO_TESTS, b"")).size_bytes
            self._suites[digest] = tests
            while self._suites_bytes > _SUITES_BYTES or len(self._suites) > _SUITES_KEPT:
                self._suites_bytes -= self._suites.popitem(last=False)[1].size_bytes
        return tests

    def _start(self, tests: _Tests, completion: str) -> _Pending:
        """Look at the form of a completion and queue its program."""
        split = split_think(completion, self.think)
        total = len(tests.suite)
        if split.missing is not None:
            return _Pending(None, "FE", split.missing, total)
        block = extract_code(split.answer_text, self.language)
        if block is None:
            return _Pending(None, "NA", None, total)
        return _Pending(self._judged(*block, tests), "XX", None, total)

    def _judged(self, program: str, language: Language, tests: _Tests) -> Future[Judgement]:
        text = f"{language}\0{program}".encode("utf-8", "surrogatepass")
        key = hashlib.sha256(tests.digest + text).digest()
        with self._lock:
            held = self._memory.get(key)
            if held is not None:
                self.remembered += 1
                return held
            future = self._pool.submit(Job(program, tests.suite, language))
            self._memory[key] = future
            while len(self._memory) > _REMEMBERED:
                self._memory.popitem(last=False)
        future.add_done_callback(lambda done: self._note(key, done))
        return future

    def _note(self, key: bytes, done: Future[Judgement]) -> None:
        if done.cancelled() or done.exception() is not None or done.result().verdict == "XX":
            with self._lock:
                self._memory.pop(key, None)
        else:
            with self._lock:
                self.tests_run += len(done.result().cases)

    def _finish(self, pending: _Pending) -> dict[str, Any]:
        """The keys that a rollout gets."""
        judgement = Judgement("XX", 0, pending.total)
        verdict = pending.verdict
        if pending.judged is not None:
            judgement = pending.judged.result()
            verdict = judgement.verdict
            if not self.use_tests and verdict == "AC":
                verdict = "XX"
        judgement = dataclasses.replace(judgement, total=pending.total)
        reward = reward_of(
            verdict, self.scheme, ability="code", passed=judgement.passed, total=judgement.total,
            missing=pending.missing,
        )  # fmt: skip
        found: dict[str, Any] = {
            "reward": reward, "verdict": verdict, "passed": judgement.passed, "total": judgement.total,
            "format_ok": pending.missing is None, "wall_s": round(judgement.wall_s, 4),
        }  # fmt: skip
        with self._lock:
            self.verdicts[verdict] += 1
            if judgement.weak:
                found["weak"] = True
                self.weak += 1
        return found
