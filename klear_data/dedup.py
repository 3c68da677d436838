"""Exact duplicates: prompts that are equal after normalising (Klear-Reasoner §3.1).

One row stays and stands for the rest: the first, or that of the best-ranked source. Its duplicates' responses
join it where the golds agree; where two golds contradict each other nobody knows which is right, and the whole
group goes, unless the survivor's is to be believed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from klear_data.records import Record
from klear_data.text import normalise

Prefer = Literal["first", "rank"]
"""Which of several rows stays: the first of the input, or the one whose source ranks best in the catalogue."""
OnConflict = Literal["drop", "first"]
"""What two golds that differ do to their rows: all go, or the survivor's gold counts and the others' rows go."""


def key_text(prompt: str, *, latex: bool = False) -> str:
    r"""The form in which prompts must be equal: normalised; with ``latex`` also in one spelling of LaTeX.

    >>> key_text("Find  X") == key_text("find x")
    True
    >>> one, other = r"Simplify $\dfrac{1}{2}$.", r"Simplify \(\frac12\)."
    >>> key_text(one) == key_text(other), key_text(one, latex=True) == key_text(other, latex=True)
    (False, True)
    """
    if not latex:
        return normalise(prompt)
    from klear_data.latex import canonical_latex

    return normalise(canonical_latex(prompt))


def survivor_first(rows: Iterable[int], rank_of: Callable[[int], int] | None = None) -> list[int]:
    """The rows of one prompt in the order in which they are believed; the first survives.

    Args:
        rows: by their number in the input, rising.
        rank_of: the rank of a row's source, 1 is best; ``None`` keeps the input's order.

    >>> survivor_first([3, 5, 8], {3: 2, 5: 1, 8: 1}.__getitem__)
    [5, 8, 3]
    """
    return list(rows) if rank_of is None else sorted(rows, key=rank_of)


@dataclass(slots=True)
class Group:
    """The rows of one prompt that has several, by their number in the input.

    Attributes:
        rows: as :func:`survivor_first` orders them; the first is the survivor.
        gold_row: the first row that has a gold, ``None`` if none has.
        conflict: two golds that differ and the places of their rows, ``None`` while all agree.
        merge_rows: rows whose rollouts join the survivor; none of those that contradict it.
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
