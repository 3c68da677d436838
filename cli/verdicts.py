"""The verdicts of a reward stage, counted as they pass by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from klear_data.stage import Outcome


class VerdictTable:
    """Counts the verdicts of one ability for the report and the closing table."""

    def __init__(self, ability: str) -> None:
        self._ability = ability
        self._verdicts: Counter[str] = Counter()
        self._weak = 0

    def watch(self, outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
        for outcome in outcomes:
            if isinstance(outcome, dict) and outcome["ability"] == self._ability:
                self._verdicts.update(rollout["verdict"] for rollout in outcome["rollouts"])
                self._weak += sum(bool(rollout.get("weak")) for rollout in outcome["rollouts"])
            yield outcome

    def notes(self) -> dict[str, Any]:
        verdicts = {"verdicts": dict(self._verdicts.most_common())}
        return {**verdicts, "weak_rollouts": self._weak} if self._weak else verdicts
