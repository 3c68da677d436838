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
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Literal

from klear_data.reward.mathcheck.decide import MAX_ANSWER_CHARS, NeedsSympy, decide, gold_fault, gold_forms
from klear_data.reward.mathcheck.extract import final_answer
from klear_data.reward.mathcheck.split import nesting
from klear_data.reward.mathcheck.workers import Fate, Pool, WorkerTrouble
from klear_data.reward.scheme import Scheme, reward_of
from klear_data.reward.think import MissingTag, ThinkMode, split_think

MathCode = Literal["AC", "WA", "NA", "FE", "TL", "XX"]

GOLD_UNPARSEABLE = "gold_unparseable"
_IN_PROCESS_CHARS = 2_000
_IN_PROCESS_NESTING = 24
_REMEMBERED_CHARS = 4_000


@dataclass(frozen=True)
class MathVerdict:
    """What the verifier found.

    Attributes:
        verdict: AC equal, WA different, NA no answer found, FE think tags missing, TL not decided within
            the worker's limits, XX the verifier failed or the gold cannot be read (never a reward).
        answer: what stood in the box, ``None`` without one.
        stage: the check that decided: extraction, format, gold, string, number, choice, value, structure,
            length, sympy, unread or limit.
        format_ok: the required think tags are there.
        missing: the first think tag that is not.
        cpu_ms: CPU time spent, in this process and in a worker; 0 for a remembered verdict.
        reason: more words, where the stage does not say it all.
    """

    verdict: MathCode
    answer: str | None
    stage: str
    format_ok: bool = True
    missing: MissingTag | None = None
    cpu_ms: float = 0.0
    reason: str | None = None


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
        self._pool = Pool(jobs=self.jobs, cpu_limit_s=timeout_s, memory_mib=memory_mib)
        self._verdicts = _Memory(memory)
        self._owner = os.getpid()

    def __enter__(self) -> MathRewarder:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End the workers."""
        if os.getpid() == self._owner:
            self._pool.close()

    def verify_answer(self, gold: str | list[str], answer: str) -> MathVerdict:
        """See :func:`verify_answer`."""
        forms = _forms(gold)
        if not isinstance(answer, str) or not answer.strip():
            return MathVerdict("NA", None, "extraction")
        key = ("\x1f".join(forms), answer)
        remembered = self._verdicts.get(key)
        if remembered is not None:
            return remembered
        started = time.thread_time()
        verdict = self._judge(forms, answer)
        verdict = replace(verdict, cpu_ms=verdict.cpu_ms + (time.thread_time() - started) * 1000)
        if verdict.verdict != "XX" or verdict.reason == GOLD_UNPARSEABLE:
            self._verdicts.put(key, replace(verdict, cpu_ms=0.0))
        return verdict

    def verify_response(self, gold: str | list[str], response: str) -> MathVerdict:
        """See :func:`verify_response`; tags and fallback are the rewarder's."""
        if not isinstance(response, str):
            return MathVerdict("NA", None, "extraction", reason="the response is no text")
        split = split_think(response, self.think)
        answer = final_answer(split.answer_text, fallback=self.fallback)
        if not split.format_ok:
            return MathVerdict("FE", answer, "format", False, split.missing)
        if answer is None:
            return MathVerdict("NA", None, "extraction")
        return self.verify_answer(gold, answer)

    def gold_problem(self, gold: str | list[str]) -> str | None:
        """See :func:`gold_problem`."""
        forms = _forms(gold)
        if not forms:
            return f"{GOLD_UNPARSEABLE}: no text"
        for form in forms:
            fault = self._gold_fault(form)
            if fault:
                return f"{GOLD_UNPARSEABLE}: {fault}"
        return None

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

    def _judge(self, forms: tuple[str, ...], answer: str) -> MathVerdict:
        problem = self.gold_problem(list(forms))
        if problem:
            return MathVerdict("XX", answer, "gold", reason=GOLD_UNPARSEABLE)
        verdicts: list[MathVerdict] = []
        for form in forms:
            verdict = self._judge_form(form, answer)
            if verdict.verdict == "AC":
                return verdict
            verdicts.append(verdict)
        undecided = [v for v in verdicts if v.verdict != "WA"]
        return undecided[0] if undecided else verdicts[0]

    def _judge_form(self, form: str, answer: str) -> MathVerdict:
        small = len(answer) <= _IN_PROCESS_CHARS and nesting(answer) <= _IN_PROCESS_NESTING
        if small or len(answer) > MAX_ANSWER_CHARS:
            try:
                decision = decide(form, answer)
            except RecursionError:
                decision = None
            if decision is not None:
                return MathVerdict(
                    _code(decision.equal, decision.stage), answer, decision.stage, reason=decision.reason
                )
        return self._ask_worker(form, answer)

    def _ask_worker(self, form: str, answer: str) -> MathVerdict:
        try:
            reply = self._workers().ask({"gold": form, "answer": answer})
        except WorkerTrouble as trouble:
            return MathVerdict("XX", answer, "worker", reason=str(trouble))
        if isinstance(reply, Fate):
            return _limited(reply, answer)
        cpu_ms = float(reply["cpu_ms"])
        failure = reply.get("failure")
        if failure in ("memory", "recursion"):
            return MathVerdict("TL", answer, "limit", cpu_ms=cpu_ms, reason=f"{failure} limit")
        if failure:
            return MathVerdict("WA", answer, "unread", cpu_ms=cpu_ms, reason=failure)
        stage = reply["stage"] if reply["stage"] == "limit" else "sympy"
        return MathVerdict(_code(reply["equal"], stage), answer, stage, cpu_ms=cpu_ms, reason=reply["reason"])

    def _gold_fault(self, form: str) -> str | None:
        key = ("\x1egold", form)
        remembered = self._verdicts.get(key)
        if remembered is not None:
            return remembered.reason
        try:
            fault = gold_fault(form)
        except (NeedsSympy, RecursionError):
            fault = self._ask_gold(form)
        self._verdicts.put(key, MathVerdict("AC", None, "gold", reason=fault))
        return fault

    def _ask_gold(self, form: str) -> str | None:
        reply = self._workers().ask({"gold": form})
        if isinstance(reply, Fate):
            return f"reading it took more than the {reply.kind} limit"
        failure = reply.get("failure")
        return str(failure) if failure else reply["reason"]

    def _workers(self) -> Pool:
        """The pool of this process: a fork of the caller must not talk to its parent's workers."""
        if os.getpid() != self._owner:
            self._pool = Pool(jobs=self.jobs, cpu_limit_s=self._pool.cpu_limit_s, memory_mib=self._pool.memory_mib)
            self._owner = os.getpid()
        return self._pool


def _code(equal: bool, stage: str) -> MathCode:
    return "AC" if equal else "TL" if stage == "limit" else "WA"


def _limited(fate: Fate, answer: str) -> MathVerdict:
    """A worker that did not survive: its own limits are a verdict, anything else is the verifier's failure."""
    if fate.kind == "cpu":
        return MathVerdict("TL", answer, "limit", cpu_ms=fate.cpu_ms, reason="CPU limit")
    return MathVerdict("XX", answer, "worker", cpu_ms=fate.cpu_ms, reason=f"worker ended: {fate.kind}, twice")


def _forms(gold: str | list[str]) -> tuple[str, ...]:
    if isinstance(gold, str):
        return gold_forms(gold) if gold.strip() else ()
    if isinstance(gold, (list, tuple)) and all(isinstance(form, str) for form in gold):
        return tuple(form for form in gold if form.strip())
    return ()


def _ready(future: Future[dict[str, Any]] | None) -> bool:
    return future is None or future.done()


def _outcome(record: dict[str, Any], future: Future[dict[str, Any]] | None) -> dict[str, Any]:
    return record if future is None else future.result()


class _Memory:
    """Verdicts by (gold, answer), the oldest forgotten first; groups of rollouts repeat answers."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str], MathVerdict] = OrderedDict()

    def get(self, key: tuple[str, str]) -> MathVerdict | None:
        with self._lock:
            return self._kept.get(key)

    def put(self, key: tuple[str, str], verdict: MathVerdict) -> None:
        if len(key[0]) + len(key[1]) > _REMEMBERED_CHARS:
            return
        with self._lock:
            self._kept[key] = verdict
            if len(self._kept) > self._size:
                self._kept.popitem(last=False)


_shared_lock = threading.Lock()
_shared: dict[int, MathRewarder] = {}


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
    if not isinstance(response, str):
        return MathVerdict("NA", None, "extraction", reason="the response is no text")
    split = split_think(response, think)
    answer = final_answer(split.answer_text, fallback=fallback)
    if not split.format_ok:
        return MathVerdict("FE", answer, "format", False, split.missing)
    return verify_answer(gold, answer) if answer is not None else MathVerdict("NA", None, "extraction")


def gold_problem(gold: str | list[str]) -> str | None:
    """Why a gold cannot be verified against (``gold_unparseable: …``), ``None`` where it can.

    Each accepted form must be read whole: a formula with a value, or words, or a structure of these.
    """
    return shared_rewarder().gold_problem(gold)
