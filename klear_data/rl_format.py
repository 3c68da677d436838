"""From labelled problems to RL prompts: keep what a majority of the responses solves (§3.2.1)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

from klear_data.records import Record, is_number, problem_of, shown
from klear_data.stage import Drop

Keep = Literal["majority", "all"]


def labelled_problem(record: Record) -> str | None:
    """The check of ``klear format rl --keep majority``: a record with a difficulty label."""
    problem = problem_of(record)
    if problem is None and not isinstance(record.get("difficulty"), dict):
        return "no key 'difficulty'; expected one for --keep majority; run `klear label` first"
    if problem is None and not _is_rate(record["difficulty"].get("pass_rate")):
        found = shown(record["difficulty"].get("pass_rate"))
        return f"key 'difficulty.pass_rate' is {found}; expected a number or null; run `klear label` first"
    return problem


def _is_rate(value: object) -> bool:
    return value is None or is_number(value)


def rl_prompts(
    records: Iterable[Record],
    *,
    keep: Keep = "majority",
    keep_weak: bool = False,
    without_rollouts: bool = False,
) -> Iterator[Record | Drop]:
    """Choose the problems that RL trains on.

    Args:
        records: with a ``difficulty`` if ``keep`` is ``majority``.
        keep: ``majority`` keeps problems whose pass rate is above one half; ``all`` keeps every one.
        keep_weak: keep problems whose tests can only run beside the solution in one interpreter, where a
            program could forge its verdict: RL would find that out.
        without_rollouts: leave the rollouts out of what is written; RL samples its own.

    Returns:
        Records, and drops with the reasons ``weak_tests``, ``unscored`` and ``pass_rate_not_above_half``.
    """
    for record in records:
        reason = _reason_against(record) if keep == "majority" else None
        if not keep_weak and any(rollout.get("weak") for rollout in record.get("rollouts") or ()):
            yield Drop(record, "weak_tests")
        elif reason is not None:
            yield Drop(record, reason, {"pass_rate": record["difficulty"].get("pass_rate")})
        elif without_rollouts:
            yield {key: value for key, value in record.items() if key != "rollouts"}
        else:
            yield record


def _reason_against(record: Record) -> str | None:
    pass_rate = record["difficulty"].get("pass_rate")
    if pass_rate is None:
        return "unscored"
    return None if pass_rate > 0.5 else "pass_rate_not_above_half"
