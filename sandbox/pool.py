"""Many programs, a few workers: the sandbox as a library sees it."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType

from sandbox import capabilities, imports
from sandbox.judge import judge_program
from sandbox.types import (
    CaseResult,
    IsolationError,
    Judgement,
    Language,
    Limits,
    SandboxError,
    TestSuite,
    judgement_of,
)  # fmt: skip
from sandbox.worker import Zygote

_COMPILER_SCRATCH_MIB = 256


@dataclass(frozen=True)
class Job:
    """A program to judge."""

    program: str
    suite: TestSuite
    language: Language = "python"
    limits: Limits | None = None


class JudgePool:
    """Warm sandboxes, one for each of ``jobs`` worker threads; use it as a context manager.

    Safe to use from several threads; the caller's process is never forked and its state (threads, CUDA,
    environment) is not seen by any program.

    Args:
        jobs: programs judged at a time.
        limits: for every test, unless a job or a problem has its own.
        allow_weak: accept a host that can only limit resources.

    Raises:
        IsolationError: on entering, where the host cannot hold programs in.
    """

    def __init__(self, jobs: int = 1, limits: Limits | None = None, allow_weak: bool = False) -> None:
        if jobs < 1:
            raise ValueError(f"jobs: {jobs}; expected at least 1")
        self.jobs, self.limits, self.allow_weak = jobs, limits or Limits(), allow_weak
        self.level = "full"
        self._local = threading.local()
        self._zygotes: set[Zygote] = set()
        self._lock = threading.Lock()
        self._executor: ThreadPoolExecutor | None = None

    def __enter__(self) -> JudgePool:
        self.level = capabilities.usable_level()
        if self.level == "none" and not self.allow_weak:
            raise IsolationError(capabilities.explain())
        self._executor = ThreadPoolExecutor(self.jobs, thread_name_prefix="judge")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the workers; programs in flight are finished first."""
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)
            self._executor = None
        with self._lock:
            zygotes, self._zygotes = self._zygotes, set()
        for zygote in zygotes:
            zygote.close()

    def judge(
        self, program: str, suite: TestSuite, *, language: Language = "python", limits: Limits | None = None
    ) -> Judgement:
        """Judge one program; may be called from several threads at a time."""
        return self.submit(Job(program, suite, language, limits)).result()

    def judge_many(self, jobs: Iterable[Job]) -> Iterator[Judgement]:
        """Judgements in the order of ``jobs``, which is read only a little ahead."""
        source = iter(jobs)
        waiting: deque[Future[Judgement]] = deque()
        for job in itertools.islice(source, 4 * self.jobs):
            waiting.append(self.submit(job))
        while waiting:
            yield waiting.popleft().result()
            for job in itertools.islice(source, 1):
                waiting.append(self.submit(job))

    def submit(self, job: Job) -> Future[Judgement]:
        """Queue one program.

        Raises:
            RuntimeError: outside the ``with`` block.
        """
        if self._executor is None:
            raise RuntimeError("JudgePool: not entered; use `with JudgePool(…) as pool:`")
        return self._executor.submit(self._judge, job)

    def _judge(self, job: Job) -> Judgement:
        """Judge in a worker thread. A failure of the machinery is tried once more, then it is ``XX``."""
        limits = job.limits or self.limits
        kind = "cpp" if job.language == "cpp" else imports.kind_for(job.program, *job.suite.sources)
        failure = ""
        for _ in range(2):
            try:
                if kind == "cpp" and self.level == "reduced":
                    raise SandboxError("C++ needs a private /tmp to compile in, and so user namespaces")
                zygote = self._zygote(kind, limits)
                return judge_program(job.program, job.suite, zygote=zygote, limits=limits, language=job.language)
            except Exception as error:  # noqa: BLE001  one bad record must not stop the others
                failure = str(error) if isinstance(error, SandboxError) else f"{type(error).__name__}: {error}"
                self._discard(kind)
        case = CaseResult("XX", detail=failure[:300])
        return judgement_of([case] * len(job.suite), wall_s=0.0)

    def _zygote(self, kind: str, limits: Limits) -> Zygote:
        held: dict[tuple[str, int], Zygote] = self._local.__dict__.setdefault("zygotes", {})
        scratch_mib = max(limits.scratch_mib, _COMPILER_SCRATCH_MIB if kind == "cpp" else 0)
        if (kind, scratch_mib) not in held:
            zygote = Zygote(kind, level=self.level, scratch_mib=scratch_mib)
            with self._lock:
                self._zygotes.add(zygote)
            held[kind, scratch_mib] = zygote
        return held[kind, scratch_mib]

    def _discard(self, kind: str) -> None:
        held: dict[tuple[str, int], Zygote] = self._local.__dict__.setdefault("zygotes", {})
        for key in [key for key in held if key[0] == kind]:
            zygote = held.pop(key)
            with self._lock:
                self._zygotes.discard(zygote)
            zygote.close()
