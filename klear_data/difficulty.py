"""Difficulty of a problem for a model: its pass rate over the rollouts that could be scored (§3.1, §3.2.1)."""

from __future__ import annotations

from typing import Any

from klear_data.records import Record, is_number, shown
from klear_data.stats import wilson95

LABELS = ("easy", "hard", "unscored")

DEFAULT_HARD_BELOW = 0.5


def label_difficulty(record: Record, *, hard_below: float = DEFAULT_HARD_BELOW, labeler: str | None = None) -> Record:
    """Add ``difficulty``: pass rate with its 95% interval, mean reward, scored and unscored, easy or hard.

    Rollouts whose verifier failed (``XX``, reward null) and rollouts that never came (``finish_reason``
    ``error``: the server failed, not the model) are counted in ``unscored`` and enter nothing else.

    What other labelers said is kept: ``difficulty`` is by the latest one, ``difficulty["others"]`` lists the
    earlier ones, the latest first. A labeler that labels again replaces what it said before.

    Args:
        record: with judged rollouts.
        hard_below: a pass rate under this is ``hard``.
        labeler: who made the rollouts; the record's ``sampling.model`` if None.

    Returns:
        The record with the key added; ``label`` is ``unscored`` where no rollout was scored.
    """
    rollouts = record["rollouts"]
    scored = [rollout for rollout in rollouts if is_scored(rollout)]
    passes = sum(rollout["verdict"] == "AC" for rollout in scored)
    pass_rate = passes / len(scored) if scored else None
    name = labeler or (record.get("sampling") or {}).get("model")
    difficulty: dict[str, Any] = {
        "pass_rate": pass_rate,
        "pass_rate_ci95": wilson_interval(passes, len(scored)),
        "mean_reward": sum(rollout["reward"] for rollout in scored) / len(scored) if scored else None,
        "scored": len(scored),
        "unscored": len(rollouts) - len(scored),
        "label": label_of(pass_rate, hard_below),
        "labeler": name,
    }
    others = [earlier for earlier in difficulties(record) if earlier.get("labeler") != name]
    if others:
        difficulty["others"] = others
    return {**record, "difficulty": difficulty}


def label_of(pass_rate: float | None, hard_below: float) -> str:
    """``easy`` or ``hard``, ``unscored`` without a pass rate."""
    if pass_rate is None:
        return "unscored"
    return "hard" if pass_rate < hard_below else "easy"


def is_scored(rollout: dict[str, Any]) -> bool:
    """True if a judged rollout says something about the model: it was written, and its verifier did not fail."""
    return rollout["reward"] is not None and rollout.get("finish_reason") != "error"


def difficulties(record: Record) -> list[dict[str, Any]]:
    """What each labeler said of a record, the latest first, none if it has no label."""
    latest = record.get("difficulty")
    if latest is None:
        return []
    return [{key: value for key, value in latest.items() if key != "others"}, *(latest.get("others") or ())]


def difficulty_by(record: Record, labeler: str | None) -> dict[str, Any] | None:
    """What a labeler said of a record; the latest label for None; None if there is no such label."""
    for found in difficulties(record):
        if labeler is None or found.get("labeler") == labeler:
            return found
    return None


def difficulty_problem(
    record: Record, *, needed_by: str, labeler: str | None = None, with_label: bool = False
) -> str | None:
    """What keeps a rule from using a record's difficulty, None if it can.

    Args:
        record: a valid record.
        needed_by: the option that wants it, for the message.
        labeler: whose label; the latest if None.
        with_label: the rule asks for easy or hard, not only for the pass rate.
    """
    latest = record.get("difficulty")
    if latest is None:
        return f"no key 'difficulty'; expected one for {needed_by}; run `klear label` first"
    others = latest.get("others")
    if others is not None and not (isinstance(others, list) and all(isinstance(one, dict) for one in others)):
        return f"key 'difficulty.others' is {shown(others)}; expected a list of objects; run `klear label` again"
    found = difficulty_by(record, labeler)
    if found is None:
        names = ", ".join(str(one.get("labeler")) for one in difficulties(record))
        return f"no difficulty by {labeler!r}, only by {names}; expected one for {needed_by}; name one of these"
    if found.get("label") not in LABELS and (with_label or "label" in found):
        expected = f"expected one of {', '.join(LABELS)}; run `klear label` first"
        return f"key 'difficulty.label' is {shown(found.get('label'))}; {expected}"
    rate = found.get("pass_rate")
    if rate is not None and not (is_number(rate) and 0 <= rate <= 1):
        return f"key 'difficulty.pass_rate' is {shown(rate)}; expected 0 to 1 or null; run `klear label` first"
    return None


def wilson_interval(passes: int, trials: int) -> list[float] | None:
    """The 95% Wilson score interval of a proportion, None without trials.

    >>> [round(bound, 3) for bound in wilson_interval(8, 16)]
    [0.28, 0.72]
    """
    if trials == 0:
        return None
    return list(wilson95(passes / trials, trials))
