"""Exact duplicates: prompts that are equal after normalising (Klear-Reasoner §3.1).

The first one stays and stands for the rest. Its duplicates' responses join it where the golds agree; where
two golds contradict each other nobody knows which is right, and the whole group goes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from klear_data.records import Record
from klear_data.text import normalise


@dataclass(slots=True)
class Group:
    """The rows of one prompt that has several, by their number in the input.

    Attributes:
        rows: in order; the first is the survivor.
        gold_row: the first row that has a gold, ``None`` if none has.
        conflict: two golds that differ and the places of their rows, ``None`` while all agree.
        merge_rows: rows whose rollouts join the survivor.
    """

    rows: list[int]
    gold_row: int | None
    conflict: dict[str, Any] | None = None
    merge_rows: set[int] = field(default_factory=set)

    @property
    def reference_row(self) -> int:
        """The row that says what the gold is; the survivor while no row says it."""
        return self.rows[0] if self.gold_row is None else self.gold_row


def gold_of(record: Record) -> str:
    return str(record["reward_model"]["ground_truth"])


def join(group: Group, number: int, record: Record, *, where: str, reference: Record, reference_where: str) -> None:
    """Add one more row to a group.

    Args:
        group: of the same prompt.
        number: of the row in the input.
        record: the row.
        where: its place, for evidence.
        reference: the record of the group's ``reference_row``.
        reference_where: the place of that record.
    """
    group.rows.append(number)
    mine, theirs = gold_of(record), gold_of(reference)
    if mine and group.gold_row is None:
        group.gold_row = number
    if not mine or not theirs or same_gold(mine, theirs, ability=record["ability"]):
        group.merge_rows.add(number)
    elif record["ability"] == reference["ability"] == "math" and group.conflict is None:
        # Two sets of tests for one task may both be right, two answers may not.
        group.conflict = {"golds": [theirs, mine], "golds_where": [reference_where, where]}


def same_gold(left: str, right: str, *, ability: str) -> bool:
    """True if two golds say the same: equal text, or for math equal answers."""
    if normalise(left) == normalise(right):
        return True
    if ability != "math":
        return False
    from klear_data.reward.math import verify_answer  # sympy, only where it is needed

    # Asked both ways: the gold 1,2 accepts the answer (1,2), the gold (1,2) not the answer 1,2.
    return "AC" in (verify_answer(left, right).verdict, verify_answer(right, left).verdict)


def merged(survivor: Record, others: Iterable[Record]) -> Record:
    """The survivor with what its duplicates bring: a gold if it has none, and their rollouts.

    A completion that is there already is not repeated. A rollout of another author than the record's
    ``sampling.model`` says so in its own key ``model``.
    """
    result = dict(survivor)
    rollouts = list(survivor.get("rollouts") or ())
    known = {rollout["completion"] for rollout in rollouts}
    own = len(rollouts)
    for other in others:
        if not gold_of(result) and gold_of(other):
            result["reward_model"] = other["reward_model"]
        if other.get("rollouts") and not rollouts:
            result["sampling"] = other.get("sampling") or {}
        author = {} if _model(other) == _model(result) else {"model": _model(other)}
        for rollout in other.get("rollouts") or ():
            if rollout["completion"] not in known:
                known.add(rollout["completion"])
                rollouts.append({**author, **rollout, "index": len(rollouts)})
    if len(rollouts) > own:
        result["sampling"] = {**(result.get("sampling") or {}), "n": len(rollouts)}
        result["rollouts"] = rollouts
    return result


def _model(record: Record) -> Any:
    return (record.get("sampling") or {}).get("model")
