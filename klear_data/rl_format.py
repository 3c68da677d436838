"""From labelled problems to RL prompts: keep what a majority of the responses solves (§3.2.1)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from klear_data.difficulty import difficulty_by, difficulty_problem
from klear_data.filters.checks import answer_filter, suite_filter
from klear_data.records import Check, Record, problem_of
from klear_data.stage import Drop

Keep = Literal["majority", "all"]

PAPER_MIN_TESTS = 16


@dataclass(frozen=True)
class RlRules:
    """Which problems RL trains on.

    Attributes:
        keep: ``majority`` is the paper's rule: the pass rate is above one half, and a code problem has at
            least 16 tests; ``all`` asks for neither.
        drop_extremes: leave out problems that every response solves or none does: such a group has no
            advantage, so it trains nothing until the policy has moved.
        min_tests: code problems with fewer tests go; None is what ``keep`` says.
        min_scored: problems with fewer scored rollouts go: a rate over one rollout says little. 0 asks nothing.
        keep_weak: keep problems whose tests can only run beside the solution in one interpreter, where a
            program could forge its verdict: RL would find that out.
        labeler: whose difficulty counts; the latest if None.
    """

    keep: Keep = "majority"
    drop_extremes: bool = False
    min_tests: int | None = None
    min_scored: int = 0
    keep_weak: bool = False
    labeler: str | None = None

    @property
    def needs_difficulty(self) -> str | None:
        """The option that needs a difficulty label, None if no rule does."""
        if self.keep == "majority":
            return "--keep majority"
        if self.drop_extremes:
            return "--drop-extremes"
        return "--min-scored" if self.min_scored else None

    @property
    def fewest_tests(self) -> int:
        if self.min_tests is not None:
            return self.min_tests
        return PAPER_MIN_TESTS if self.keep == "majority" else 0


def rl_problem(rules: RlRules) -> Check:
    """The check of ``klear format rl``: a valid record, with a difficulty label if a rule looks at it."""

    def problem(record: Record) -> str | None:
        found = problem_of(record)
        if found is None and rules.needs_difficulty is not None:
            return difficulty_problem(record, needed_by=rules.needs_difficulty, labeler=rules.labeler)
        return found

    return problem


def rl_prompts(
    records: Iterable[Record], rules: RlRules | None = None, *, without_rollouts: bool = False
) -> Iterator[Record | Drop]:
    """Choose the problems that RL trains on.

    Args:
        records: that pass :func:`rl_problem`.
        rules: the paper's if None.
        without_rollouts: leave the rollouts out of what is written; RL samples its own.

    Returns:
        Records, and drops with the reasons ``weak_tests``, ``unscored``, ``too_few_scored``, ``all_right``,
        ``all_wrong``, ``pass_rate_not_above_half``, ``no_gold``, ``no_tests``, ``too_few_tests``,
        or why the tests can't be used.
    """
    rules = rules or RlRules()
    for record in records:
        against = _against(record, rules)
        if against is not None:
            yield Drop(record, *against)
        elif without_rollouts:
            yield {key: value for key, value in record.items() if key != "rollouts"}
        else:
            yield record


def _against(record: Record, rules: RlRules) -> tuple[str, dict[str, Any]] | None:
    """The first rule that a record breaks, with what the rule saw."""
    if not rules.keep_weak and any(rollout.get("weak") for rollout in record.get("rollouts") or ()):
        return "weak_tests", {}
    if rules.needs_difficulty is not None:
        difficulty = difficulty_by(record, rules.labeler) or {}
        reason = _too_easy_or_hard(difficulty, rules)
        if reason is not None:
            seen = {"pass_rate": difficulty.get("pass_rate")}
            return reason, seen if reason != "too_few_scored" else {**seen, "scored": difficulty.get("scored")}
    rejection = answer_filter(record)
    if rejection is None and rules.fewest_tests > 0:
        rejection = suite_filter(record, min_tests=rules.fewest_tests)
    return None if rejection is None else (rejection.reason, rejection.evidence)


def _too_easy_or_hard(difficulty: dict[str, Any], rules: RlRules) -> str | None:
    pass_rate = difficulty.get("pass_rate")
    if pass_rate is None:
        return "unscored"
    if (difficulty.get("scored") or 0) < rules.min_scored:
        return "too_few_scored"
    if rules.drop_extremes and pass_rate in (0, 1):
        return "all_right" if pass_rate == 1 else "all_wrong"
    if rules.keep == "majority" and pass_rate <= 0.5:
        return "pass_rate_not_above_half"
    return None
