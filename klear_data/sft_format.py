"""From judged rollouts to SFT examples: one line a kept response (§3.1, Table 2)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from klear_data.records import SFT_SCHEMA, Check, Record, rewards_problem
from klear_data.stage import Drop, Fan

Correctness = Literal["all", "only-true", "true-if-easy"]
Truncated = Literal["drop", "keep"]


def sft_problem(correctness: Correctness) -> Check:
    """The check of ``klear format sft``: ``true-if-easy`` needs a difficulty label as well."""

    def problem(record: Record) -> str | None:
        found = rewards_problem(record)
        if found is None and correctness == "true-if-easy" and not isinstance(record.get("difficulty"), dict):
            return "no key 'difficulty'; expected one for --correctness true-if-easy; run `klear label` first"
        return found

    return problem


@dataclass
class SftFormatter:
    """Chooses responses and writes them as chat messages.

    Attributes:
        correctness: ``all`` keeps right and wrong responses, ``only-true`` the accepted ones,
            ``true-if-easy`` only the accepted ones of problems labelled easy and all of the others
            (mistakes on hard problems still teach, Table 2).
        truncated: what becomes of responses that ran into the token limit.
        max_per_prompt: at most this many responses a problem, the accepted ones first; None is no limit.
        left_out: responses not kept, by reason.
    """

    correctness: Correctness = "all"
    truncated: Truncated = "drop"
    max_per_prompt: int | None = None
    left_out: Counter[str] = field(default_factory=Counter)

    def __call__(self, records: Iterable[Record]) -> Iterator[Fan | Drop]:
        for record in records:
            kept, reasons = self._choose(record)
            self.left_out.update(reasons)
            if kept:
                yield Fan([_example(record, position) for position in kept])
            else:
                reason = reasons.most_common(1)[0][0] if reasons else "no_rollouts"
                yield Drop(record, reason, {"rollouts_left_out": dict(reasons)})

    def _choose(self, record: Record) -> tuple[list[int], Counter[str]]:
        """Positions of the responses to keep, and why the others go."""
        easy = (record.get("difficulty") or {}).get("label") == "easy"
        only_true = self.correctness == "only-true" or (self.correctness == "true-if-easy" and easy)
        kept: list[int] = []
        reasons: Counter[str] = Counter()
        for position, rollout in enumerate(record["rollouts"]):
            if rollout["reward"] is None:
                reasons["unscored"] += 1
            elif rollout.get("finish_reason") == "length" and self.truncated == "drop":
                reasons["truncated"] += 1
            elif only_true and rollout["verdict"] != "AC":
                reasons["wrong"] += 1
            else:
                kept.append(position)
        if self.max_per_prompt is not None and len(kept) > self.max_per_prompt:
            reasons["over_max_per_prompt"] = len(kept) - self.max_per_prompt
            best_first = sorted(kept, key=lambda position: record["rollouts"][position]["verdict"] != "AC")
            kept = sorted(best_first[: self.max_per_prompt])
        return kept, reasons


def _example(record: Record, position: int) -> Record:
    rollout = record["rollouts"][position]
    example = {
        "schema": SFT_SCHEMA,
        "id": f"{record['id']}/{rollout.get('index', position)}",
        "data_source": record.get("data_source"),
        "ability": record["ability"],
        "messages": [*record["prompt"], {"role": "assistant", "content": rollout["completion"]}],
        "verdict": rollout["verdict"],
        "reward": rollout["reward"],
    }
    if "difficulty" in record:
        example["difficulty"] = record["difficulty"]
    return example
