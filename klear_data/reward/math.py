"""The math reward: from a gold answer and a response to a verdict.

Order of the checks, from cheap to dear: the last closed box after ``</think>``, equal strings in one
spelling, exact numbers, choices and words, structure, evaluation to as many digits as it takes, and sympy
in a worker with limits. See docs/math-verifier.md.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from klear_data.reward.mathcheck.extract import final_answer
from klear_data.reward.mathcheck.judge import GOLD_UNPARSEABLE, Judge
from klear_data.reward.mathcheck.verdict import MathCode, MathVerdict
from klear_data.reward.mathcheck.workers import Pool
from klear_data.reward.scheme import Scheme, reward_of
from klear_data.reward.think import ThinkMode, split_think

__all__ = [
    "GOLD_UNPARSEABLE", "MathCode", "MathRewarder", "MathVerdict",
    "gold_problem", "shared_rewarder", "verify_answer", "verify_response",
]  # fmt: skip


class MathRewarder:
    """Verifies answers, with worker processes for what may run long; a context manager.

    Workers start with the first item that needs one. Threads may share a rewarder.

    Args:
        jobs: workers at a time.
        scheme: how a verdict becomes a number (``klear_data.reward.scheme``).
        think: which think tags are required.
        timeout_s: CPU time for one item in a worker.
        fallback: accept answers without a box ("answer: 5", the last formula).
        memory_mib: address space of a worker.
    """

    def __init__(
        self, *, jobs: int = 1, scheme: Scheme = "paper", think: ThinkMode = "full", timeout_s: float = 5.0,
        fallback: bool = False, memory_mib: int = 2048, memory: int = 100_000,
    ) -> None:  # fmt: skip
        self.jobs = max(1, jobs)
        self.scheme = scheme
        self.think = think
        self.fallback = fallback
        self._judge = Judge(Pool(jobs=self.jobs, cpu_limit_s=timeout_s, memory_mib=memory_mib), memory=memory)

    def __enter__(self) -> MathRewarder:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End the workers; what would need one afterwards gets the verdict XX."""
        self._judge.close()

    def verify_answer(self, gold: str | list[str], answer: str) -> MathVerdict:
        """See :func:`verify_answer`."""
        return self._judge.verdict(gold, answer)

    def verify_response(self, gold: str | list[str], response: str) -> MathVerdict:
        """See :func:`verify_response`; tags and fallback are the rewarder's."""
        return _verify_response(self._judge, gold, response, think=self.think, fallback=self.fallback)

    def gold_problem(self, gold: str | list[str]) -> str | None:
        """See :func:`gold_problem`."""
        return self._judge.gold_problem(gold)

    def reward_one(self, gold: str | list[str], completion: str) -> dict[str, Any]:
        """The keys of one rollout: reward, verdict, answer, format_ok, wall_s. Callable from threads."""
        started = time.perf_counter()
        found = self.verify_response(gold, completion)
        reward = reward_of(found.verdict, self.scheme, ability="math", missing=found.missing)
        return {
            "reward": reward, "verdict": found.verdict, "answer": found.answer, "format_ok": found.format_ok,
            "wall_s": round(time.perf_counter() - started, 4),
        }  # fmt: skip

    def reward_records(self, records: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Score the rollouts of math records, in order, a bounded number of records ahead.

        A record of another ability passes through untouched; every other key stays as it is.

        Raises:
            KeyError: a math record without ``reward_model.ground_truth`` or a rollout without ``completion``.
        """
        pending: deque[tuple[dict[str, Any], Future[dict[str, Any]] | None]] = deque()
        with ThreadPoolExecutor(self.jobs, thread_name_prefix="klear-math") as threads:
            try:
                for record in records:
                    scored = record.get("ability") == "math" and record.get("rollouts")
                    pending.append((record, threads.submit(self._score, record) if scored else None))
                    while len(pending) > 8 * self.jobs or (pending and _ready(pending[0][1])):
                        yield _outcome(*pending.popleft())
                while pending:
                    yield _outcome(*pending.popleft())
            finally:
                for _, future in pending:
                    if future is not None:
                        future.cancel()

    def _score(self, record: dict[str, Any]) -> dict[str, Any]:
        gold = record["reward_model"]["ground_truth"]
        rollouts = [{**rollout, **self.reward_one(gold, rollout["completion"])} for rollout in record["rollouts"]]
        return {**record, "rollouts": rollouts}


def _verify_response(
    judge: Judge, gold: str | list[str], response: str, *, think: ThinkMode, fallback: bool
) -> MathVerdict:
    if not isinstance(response, str):
        return MathVerdict("NA", None, "extraction", reason="the response is no text")
    split = split_think(response, think)
    answer = final_answer(split.answer_text, fallback=fallback)
    if not split.format_ok:
        return MathVerdict("FE", answer, "format", False, split.missing)
    return MathVerdict("NA", None, "extraction") if answer is None else judge.verdict(gold, answer)


def _ready(future: Future[dict[str, Any]] | None) -> bool:
    return future is None or future.done()


def _outcome(record: dict[str, Any], future: Future[dict[str, Any]] | None) -> dict[str, Any]:
    return record if future is None else future.result()


_shared_lock = threading.Lock()
_shared: dict[int, MathRewarder] = {}


def _renew_lock() -> None:
    """A forked child starts with a free lock, whoever held it in the parent."""
    global _shared_lock
    _shared_lock = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)


def shared_rewarder() -> MathRewarder:
    """The rewarder behind the module's functions: one a process, one worker, closed at exit."""
    with _shared_lock:
        pid = os.getpid()
        if pid not in _shared:
            _shared[pid] = MathRewarder()
            atexit.register(_shared[pid].close)
        return _shared[pid]


def verify_answer(gold: str | list[str], answer: str) -> MathVerdict:
    """Compare the gold answer with what stood in the box.

    Args:
        gold: the gold answer, or a list of accepted forms (also as a JSON list of strings).
        answer: the content of the box, LaTeX or plain.

    >>> verify_answer("\\\\frac{1}{2}", "0.5").verdict
    'AC'
    >>> verify_answer("1/3", "0.3333").verdict
    'WA'
    """
    return shared_rewarder().verify_answer(gold, answer)


def verify_response(
    gold: str | list[str], response: str, *, think: ThinkMode = "full", fallback: bool = False
) -> MathVerdict:
    """Find the final answer of a response and compare it with the gold one.

    The answer is the last closed box after the last ``</think>``.

    Args:
        think: which think tags are required; without them the verdict is FE.
        fallback: accept an answer without a box: "answer: …", else the last formula.

    >>> verify_response("5", "<think>maybe \\\\boxed{7}</think> It is \\\\boxed{5}.").verdict
    'AC'
    """
    return _verify_response(shared_rewarder()._judge, gold, response, think=think, fallback=fallback)


def gold_problem(gold: str | list[str]) -> str | None:
    """Why a gold cannot be verified against (``gold_unparseable: …``), ``None`` where it can.

    Each accepted form must be read whole: a formula with a value, or words, or a structure of these.
    """
    return shared_rewarder().gold_problem(gold)
