"""One rewarder of each kind for a process: what functions share that trainers call without a place to open and close.

Workers and sandboxes start with the first answer that needs one and end with the process. A fork (a data loader's
worker, a Ray actor's helper) gets its own: threads and pipes do not survive a fork.
"""

from __future__ import annotations

import atexit
import json
import os
import threading
from dataclasses import dataclass
from typing import Any, Literal

from klear_data.reward.code import CodeRewarder
from klear_data.reward.math import MathRewarder
from klear_data.reward.scheme import Scheme, reward_of
from klear_data.reward.think import ThinkMode
from sandbox.types import TestsError

Ability = Literal["math", "code"]


@dataclass(frozen=True)
class RewardSettings:
    """How answers are judged.

    Attributes:
        scheme, think: see :mod:`klear_data.reward.scheme` and :mod:`klear_data.reward.think`.
        jobs: answers judged at the same time.
        timeout_s: math: CPU time for one answer in a worker.
        time_limit_s: code: CPU time a test, where the problem has no limit of its own.
        memory_mib: code: address space of a test's process.
        max_tests: code: at most so many tests a problem, the same for every rollout; None runs all.
    """

    scheme: Scheme = "paper"
    think: ThinkMode = "full"
    jobs: int = 2
    timeout_s: float = 5.0
    time_limit_s: float = 6.0
    memory_mib: int = 1024
    max_tests: int | None = None

    def halfway(self, ability: Ability) -> float:
        """The reward half way between a wrong and a right answer.

        >>> RewardSettings("paper").halfway("math"), RewardSettings("paper").halfway("code")
        (0.0, 0.5)
        """
        right = reward_of("AC", self.scheme, ability=ability, passed=1, total=1)
        wrong = reward_of("WA", self.scheme, ability=ability, passed=0, total=1)
        assert right is not None  # only XX has no reward
        assert wrong is not None
        return (right + wrong) / 2


def judged(settings: RewardSettings, ability: Ability, ground_truth: Any, completion: str) -> dict[str, Any]:
    """The reward keys of one completion: ``reward`` (None where the verifier failed), ``verdict``, ``format_ok``, ….

    Callable from threads. Tests that can't be used are a failure of the verifier: verdict ``XX``.

    Raises:
        sandbox.IsolationError: this host can't hold programs in.
    """
    if ability == "math":
        return _shared(settings, "math").reward_one(ground_truth, completion)
    try:
        return _shared(settings, "code").reward_one(ground_truth, completion)
    except TestsError as error:
        return {"reward": None, "verdict": "XX", "passed": 0, "total": 0, "format_ok": True, "detail": str(error)}


def ability_of(named: object, ground_truth: object) -> Ability:
    """Which verifier an answer needs: what the data set says, else tests are told by their form.

    >>> ability_of(None, '{"inputs": ["1"], "outputs": ["2"]}'), ability_of(None, "[1, 2]")
    ('code', 'math')
    """
    if named in ("math", "code"):
        return named
    if not isinstance(ground_truth, str) or not ground_truth.lstrip().startswith(("{", "[")):
        return "math"
    try:
        value = json.loads(ground_truth)
    except ValueError:
        return "math"  # a set, an interval
    first = value[0] if isinstance(value, list) and value else value
    keys = first.keys() if isinstance(first, dict) else set()
    return "code" if keys & {"inputs", "input", "functional", "pytest"} else "math"


_lock = threading.Lock()
_rewarders: dict[tuple[int, RewardSettings, Ability], MathRewarder | CodeRewarder] = {}


def _renew_lock() -> None:
    """A forked child starts with a free lock, whoever held it in the parent."""
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)


def _shared(settings: RewardSettings, ability: Ability) -> MathRewarder | CodeRewarder:
    with _lock:
        key = (os.getpid(), settings, ability)
        if key not in _rewarders:
            if ability == "math":
                opened: MathRewarder | CodeRewarder = MathRewarder(
                    jobs=settings.jobs, scheme=settings.scheme, think=settings.think, timeout_s=settings.timeout_s
                )
            else:
                opened = CodeRewarder(
                    settings.jobs, settings.scheme, settings.think, time_limit_s=settings.time_limit_s,
                    memory_mib=settings.memory_mib, max_tests=settings.max_tests,
                )  # fmt: skip
            _rewarders[key] = opened.__enter__()
        return _rewarders[key]


@atexit.register
def _close() -> None:
    """End this process's workers; those of a parent are left to it."""
    for (pid, _, _), rewarder in _rewarders.items():
        if pid == os.getpid():
            rewarder.__exit__(None, None, None)
