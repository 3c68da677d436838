"""Exact duplicates: prompts that are equal after normalising (Klear-Reasoner §3.1).

The first one stays and stands for the rest. Its duplicates' responses join it where the golds agree; where
two golds contradict each other nobody knows which is right, and the whole group goes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from klear_data.records import Record
from klear_data.text import normalise


@dataclass
class Group:
    """The rows of one prompt, by their number in the input.

    Attributes:
        rows: in order; the first is the survivor.
        gold_row: the first row that has a gold, ``None`` if none has.
        conflict: two golds that differ and the places of their rows, ``None`` while all agree.
        merge_rows: rows whose rollouts join the survivor.
    """

    rows: list[int]
    gold_row: int | None
    conflict: dict[str, Any] | None = None
    merge_rows: list[int] = field(default_factory=list)


def gold_of(record: Record) -> str:
    return str(record["reward_model"]["ground_truth"])


def join(group: Group, number: int, record: Record, *, where: str, earlier: Record, earlier_where: str) -> None:
    """Add one more row to a group.

    Args:
        group: of the same prompt.
        number: of the row in the input.
        record: the row.
        where: its place, for evidence.
        earlier: the group's record that has a gold, else its first.
        earlier_where: the place of that record.
    """
    group.rows.append(number)
    mine, theirs = gold_of(record), gold_of(earlier)
    if mine and group.gold_row is None:
        group.gold_row = number
    agree = not mine or not theirs or same_gold(mine, theirs, ability=record["ability"])
    if agree:
        group.merge_rows.append(number)
    elif record["ability"] == earlier["ability"] == "math" and group.conflict is None:
        # Two sets of tests for one task may both be right, two answers may not.
        group.conflict = {"golds": [theirs, mine], "golds_where": [earlier_where, where]}


def same_gold(left: str, right: str, *, ability: str) -> bool:
    """True if two golds say the same: equal text, or for math equal answers."""
    if normalise(left) == normalise(right):
        return True
    if ability != "math":
        return False
    from klear_data.reward.math import verify_answer  # sympy, only where it is needed

    # Asked both ways: a gold without a unit takes an answer with one, not the other way round.
    return "AC" in (verify_answer(left, right).verdict, verify_answer(right, left).verdict)


def merged(survivor: Record, others: list[Record]) -> Record:
    """The survivor with what its duplicates bring: a gold if it has none, and their rollouts.

    A completion that is there already is not repeated. A rollout of another author than the record's
    ``sampling.model`` says so in its own key ``model``.
    """
    result = dict(survivor)
    for other in others:
        if not gold_of(result) and gold_of(other):
            result["reward_model"] = other["reward_model"]
        if not other.get("rollouts"):
            continue
        if not result.get("rollouts"):
            result["sampling"], result["rollouts"] = other.get("sampling"), other["rollouts"]
        else:
            result = _with_rollouts(result, other)
    return result


def _with_rollouts(record: Record, other: Record) -> Record:
    model, others_model = _model(record), _model(other)
    known = {rollout["completion"] for rollout in record["rollouts"]}
    rollouts = list(record["rollouts"])
    for rollout in other["rollouts"]:
        if rollout["completion"] in known:
            continue
        known.add(rollout["completion"])
        author = {} if others_model == model else {"model": others_model}
        rollouts.append({**author, **rollout, "index": len(rollouts)})
    return {**record, "sampling": {**(record.get("sampling") or {}), "n": len(rollouts)}, "rollouts": rollouts}


def _model(record: Record) -> Any:
    return (record.get("sampling") or {}).get("model")
