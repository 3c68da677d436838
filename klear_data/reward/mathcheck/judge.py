"""One answer against one gold: in this process where that is quick, else in a limited worker; never twice."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import replace

from klear_data.reward.mathcheck.decide import MAX_ANSWER_CHARS, NeedsSympy, decide, gold_fault, gold_forms
from klear_data.reward.mathcheck.split import nesting
from klear_data.reward.mathcheck.verdict import MathCode, MathVerdict, VerdictMemory
from klear_data.reward.mathcheck.workers import Fate, Pool, WorkerTrouble

GOLD_UNPARSEABLE = "gold_unparseable"
_IN_PROCESS_CHARS = 2_000
_IN_PROCESS_NESTING = 24


class Judge:
    """Decides pairs of gold and answer; threads may share it, and a fork of the caller gets workers of its own.

    Args:
        pool: the workers for what may run long.
        memory: how many verdicts are remembered.
    """

    def __init__(self, pool: Pool, *, memory: int) -> None:
        self.pool = pool
        self.verdicts = VerdictMemory(memory)
        self._owner = os.getpid()

    def close(self) -> None:
        """End the workers; those of a parent process are left to it."""
        if os.getpid() == self._owner:
            self.pool.close()

    def verdict(self, gold: str | list[str], answer: object) -> MathVerdict:
        """The verdict on one answer, remembered by (gold, answer)."""
        self._renew_in_a_fork()
        forms = _forms(gold)
        if not isinstance(answer, str) or not answer.strip():
            return MathVerdict("NA", None, "extraction")
        key = ("\x1f".join(forms), answer)
        remembered = self.verdicts.get(key)
        if remembered is not None:
            return remembered
        started = time.thread_time()
        verdict = self._judge(forms, answer)
        verdict = replace(verdict, cpu_ms=verdict.cpu_ms + (time.thread_time() - started) * 1000)
        if verdict.verdict != "XX" or verdict.reason == GOLD_UNPARSEABLE:
            self.verdicts.put(key, replace(verdict, cpu_ms=0.0))
        return verdict

    def gold_problem(self, gold: str | list[str]) -> str | None:
        """Why a gold cannot be verified against, ``None`` where it can."""
        self._renew_in_a_fork()
        try:
            return self._gold_problem(_forms(gold))
        except WorkerTrouble as trouble:
            return f"{GOLD_UNPARSEABLE}: not checked, {trouble}"

    def _gold_problem(self, forms: tuple[str, ...]) -> str | None:
        if not forms:
            return f"{GOLD_UNPARSEABLE}: no text"
        faults = (self._gold_fault(form) for form in forms)
        return next((f"{GOLD_UNPARSEABLE}: {fault}" for fault in faults if fault), None)

    def _judge(self, forms: tuple[str, ...], answer: str) -> MathVerdict:
        try:
            problem = self._gold_problem(forms)
        except WorkerTrouble as trouble:
            return MathVerdict("XX", answer, "worker", reason=str(trouble))
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
        if _small(answer) or len(answer) > MAX_ANSWER_CHARS:
            with contextlib.suppress(RecursionError):
                decision = decide(form, answer)
                if decision is not None:
                    code = _code(decision.equal, decision.stage)
                    return MathVerdict(code, answer, decision.stage, reason=decision.reason)
        return self._ask_worker(form, answer)

    def _ask_worker(self, form: str, answer: str) -> MathVerdict:
        try:
            reply = self.pool.ask({"gold": form, "answer": answer})
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
        remembered = self.verdicts.get(key)
        if remembered is not None:
            return remembered.reason
        try:
            fault = gold_fault(form) if _small(form) or len(form) > MAX_ANSWER_CHARS else self._ask_gold(form)
        except (NeedsSympy, RecursionError):
            fault = self._ask_gold(form)
        self.verdicts.put(key, MathVerdict("AC", None, "gold", reason=fault))
        return fault

    def _ask_gold(self, form: str) -> str | None:
        reply = self.pool.ask({"gold": form})
        if isinstance(reply, Fate):
            if reply.kind != "cpu":
                raise WorkerTrouble(f"worker ended: {reply.kind}, twice")
            return "reading it took more than the CPU limit"
        failure = reply.get("failure")
        return str(failure) if failure else reply["reason"]

    def _renew_in_a_fork(self) -> None:
        """A fork of the caller must not talk to its parent's workers, nor wait for a lock its parent held."""
        if os.getpid() != self._owner:
            self.pool = self.pool.renewed()
            self.verdicts = VerdictMemory(self.verdicts.size)
            self._owner = os.getpid()


def _small(text: str) -> bool:
    return len(text) <= _IN_PROCESS_CHARS and nesting(text) <= _IN_PROCESS_NESTING


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
