"""The labels of a file, by ability and source."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from klear_data.records import Record
from klear_data.stats import mean_ci95


@dataclass
class LabelCounts:
    """Counts labelled records; one row an ability and source, and one for all where there are several."""

    _difficulties: dict[str, list[tuple[str, float | None, int]]] = field(default_factory=dict)

    def add(self, record: Record) -> None:
        """Count a record that has a ``difficulty``."""
        difficulty = record["difficulty"]
        name = f"{record['ability']}/{record.get('data_source') or '?'}"
        seen = (difficulty["label"], difficulty["pass_rate"], difficulty["unscored"])
        self._difficulties.setdefault(name, []).append(seen)

    def rows(self) -> dict[str, dict[str, Any]]:
        """Rows by name: problems, easy, hard, unscored problems and rollouts, mean pass rate.

        ``pass_rate`` is the mean over problems with a scored rollout, and ``ci95`` its interval over problems;
        None where there are too few.
        """
        groups = dict(sorted(self._difficulties.items()))
        if len(groups) > 1:
            groups["all"] = [seen for group in groups.values() for seen in group]
        return {name: _row(group) for name, group in groups.items()}


def _row(group: list[tuple[str, float | None, int]]) -> dict[str, Any]:
    labels = [label for label, _, _ in group]
    rates = [rate for _, rate, _ in group if rate is not None]
    return {
        "problems": len(group),
        "easy": labels.count("easy"),
        "hard": labels.count("hard"),
        "unscored": labels.count("unscored"),
        "unscored_rollouts": sum(unscored for _, _, unscored in group),
        "pass_rate": sum(rates) / len(rates) if rates else None,
        "ci95": list(mean_ci95(rates)[1:]) if len(rates) > 1 else None,
    }
