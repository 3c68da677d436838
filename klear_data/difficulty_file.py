"""Difficulty that was measured on other rollouts, joined by record id: one model's labels on another's responses."""

from __future__ import annotations

from klear_data.difficulty import DEFAULT_HARD_BELOW, difficulties, difficulty_by, difficulty_problem, label_of
from klear_data.errors import RecordError
from klear_data.jsonl import BadLine, Source, parse_object, to_line
from klear_data.records import Record, problem_of


class DifficultyFile:
    """The difficulties of a labelled file, by record id; some hundred bytes of memory each.

    Args:
        path: of records that ``klear label`` has labelled.
        labeler: whose label; the latest of each record if None.

    Attributes:
        not_found: records that :meth:`label` was given and the file does not hold.

    Raises:
        UsageError: the file can't be read.
        RecordError: a line is no record, has no such difficulty, or contradicts an earlier line of the same id.
    """

    def __init__(self, path: str, *, labeler: str | None = None) -> None:
        self._labeler = labeler
        self._by_id: dict[str, bytes] = {}
        self.not_found = 0
        source = Source(path)
        try:
            for item in source:
                if isinstance(item, BadLine):
                    raise RecordError(f"{item.where}: {item.problem}; mend the line")
                where, record = item
                problem = problem_of(record) or difficulty_problem(record, needed_by="--from", labeler=labeler)
                if problem is not None:
                    raise RecordError(f"{where}: {problem}")
                found = to_line(difficulty_by(record, labeler) or {})
                if self._by_id.setdefault(record["id"], found) != found:
                    raise RecordError(
                        f"{where}: another difficulty of record {record['id']} than an earlier line's; expected one a "
                        "record; name a labeler with --labeler, or take one of the lines out"
                    )
        finally:
            source.close()

    def label(self, record: Record, *, hard_below: float | None = None) -> Record:
        """Add the file's difficulty; one of a record that it does not hold is ``unscored``.

        What other labelers said of the record is kept in ``difficulty["others"]``.

        Args:
            record: with or without rollouts: they are not looked at.
            hard_below: label anew by this pass rate; None keeps the file's label.
        """
        line = self._by_id.get(record["id"])
        if line is None:
            self.not_found += 1
            found: Record = {
                "pass_rate": None, "pass_rate_ci95": None, "mean_reward": None, "scored": 0, "unscored": 0,
                "label": "unscored", "labeler": self._labeler,
            }  # fmt: skip
        else:
            found = parse_object(line)
            if hard_below is not None or "label" not in found:
                found["label"] = label_of(
                    found.get("pass_rate"), DEFAULT_HARD_BELOW if hard_below is None else hard_below
                )
        others = [earlier for earlier in difficulties(record) if earlier.get("labeler") != found.get("labeler")]
        return {**record, "difficulty": {**found, "others": others} if others else found}
