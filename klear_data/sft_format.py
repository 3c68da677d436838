"""From judged rollouts to SFT examples: one line a kept response (§3.1, Table 2)."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from klear_data.difficulty import difficulty_by, difficulty_problem
from klear_data.records import SFT_SCHEMA, Check, Record, rewards_problem
from klear_data.stage import AccountingError, Drop, Fan
from klear_data.think_tags import is_unclosed, normalised

Correctness = Literal["all", "only-true", "true-if-easy"]
Truncated = Literal["drop", "keep"]
ThinkTags = Literal["normalise", "as-is"]


def sft_problem(correctness: Correctness, *, labeler: str | None = None) -> Check:
    """The check of ``klear format sft``: ``true-if-easy`` needs a difficulty label as well."""

    def problem(record: Record) -> str | None:
        found = rewards_problem(record)
        if found is None and correctness == "true-if-easy":
            option = "--correctness true-if-easy"
            return difficulty_problem(record, needed_by=option, labeler=labeler, with_label=True)
        return found

    return problem


@dataclass
class SftFormatter:
    """Chooses responses and writes them as chat messages.

    Attributes:
        correctness: ``all`` keeps right and wrong responses, ``only-true`` the accepted ones,
            ``true-if-easy`` only the accepted ones of problems labelled easy and all of the others
            (mistakes on hard problems still teach, Table 2).
        truncated: what becomes of responses that ran into the token limit (``finish_reason`` ``length``), or
            opened ``<think>`` and never closed it, which is how one shows where the source does not say.
        max_per_prompt: at most this many responses a problem, see :func:`drawn`; None is no limit.
        think_tags: ``normalise`` writes them one way (:func:`klear_data.think_tags.normalised`).
        labeler: whose difficulty counts; the latest if None.
        seed: of the draw.
        responses_in, responses_out: responses seen and written.
        left_out: responses not written, by reason; in = out + left out.
    """

    correctness: Correctness = "all"
    truncated: Truncated = "drop"
    max_per_prompt: int | None = None
    think_tags: ThinkTags = "normalise"
    labeler: str | None = None
    seed: int = 0
    responses_in: int = 0
    responses_out: int = 0
    left_out: Counter[str] = field(default_factory=Counter)

    def __call__(self, records: Iterable[Record]) -> Iterator[Fan | Drop]:
        for record in records:
            kept, reasons = self._choose(record)
            self.responses_in += len(record["rollouts"])
            self.responses_out += len(kept)
            self.left_out.update(reasons)
            if kept:
                yield Fan([self._example(record, position) for position in kept])
            else:
                reason = reasons.most_common(1)[0][0] if reasons else "no_rollouts"
                yield Drop(record, reason, {"rollouts_left_out": dict(reasons)})

    def counts(self) -> dict[str, Any]:
        """The responses for the report.

        Raises:
            AccountingError: a response is neither written nor left out.
        """
        if self.responses_in != self.responses_out + self.left_out.total():
            raise AccountingError(
                f"klear format sft: {self.responses_in} responses in, but {self.responses_out} out + "
                f"{self.left_out.total()} left out; please report this bug"
            )
        return {
            "responses": {"in": self.responses_in, "out": self.responses_out, "left_out": self.left_out.total()},
            **({"responses_left_out": dict(self.left_out.most_common())} if self.left_out else {}),
        }

    def _choose(self, record: Record) -> tuple[list[int], Counter[str]]:
        """Positions of the responses to keep, and why the others go."""
        only_true = self.correctness == "only-true"
        if self.correctness == "true-if-easy":
            only_true = (difficulty_by(record, self.labeler) or {}).get("label") == "easy"
        kept: list[int] = []
        reasons: Counter[str] = Counter()
        for position, rollout in enumerate(record["rollouts"]):
            reason = self._against(rollout, only_true=only_true)
            if reason is None:
                kept.append(position)
            else:
                reasons[reason] += 1
        if self.max_per_prompt is not None and len(kept) > self.max_per_prompt:
            reasons["over_max_per_prompt"] = len(kept) - self.max_per_prompt
            kept = drawn(record, kept, self.max_per_prompt, seed=self.seed)
        return kept, reasons

    def _against(self, rollout: dict[str, Any], *, only_true: bool) -> str | None:
        """Why a response goes, None if it may stay."""
        finish_reason = rollout.get("finish_reason")
        if finish_reason == "error":
            return "sampling_failed"
        if rollout["reward"] is None:
            return "unscored"
        if not rollout["completion"].strip():
            return "empty"
        if self.truncated == "drop" and finish_reason == "length":
            return "truncated"
        if self.truncated == "drop" and is_unclosed(rollout["completion"]):
            return "think_unclosed"
        return "wrong" if only_true and rollout["verdict"] != "AC" else None

    def _example(self, record: Record, position: int) -> Record:
        rollout = record["rollouts"][position]
        completion = rollout["completion"]
        if self.think_tags == "normalise":
            completion = normalised(completion)
        example = {
            "schema": SFT_SCHEMA,
            "id": f"{record['id']}/{_name(record['rollouts'], position)}",
            "data_source": record.get("data_source"),
            "ability": record["ability"],
            "messages": [*record["prompt"], {"role": "assistant", "content": completion}],
            "verdict": rollout["verdict"],
            "reward": rollout["reward"],
        }
        if "difficulty" in record:
            example["difficulty"] = record["difficulty"]
        return example


def drawn(record: Record, positions: Sequence[int], at_most: int, *, seed: int) -> list[int]:
    """A part of a record's responses, with right and wrong ones in the shares that all of them have.

    The shares are rounded, but a problem with a right response keeps one. Within right and wrong the draw is
    by a hash of seed, record and position: the same whatever other records the file holds.

    Returns:
        ``at_most`` of the positions, in order.
    """
    right = [at for at in positions if record["rollouts"][at]["verdict"] == "AC"]
    wrong = [at for at in positions if record["rollouts"][at]["verdict"] != "AC"]
    num_right = round(at_most * len(right) / len(positions))
    if right:
        num_right = max(1, num_right)

    def rank(position: int) -> bytes:
        return hashlib.sha256(f"{seed}/{record['id']}/{position}".encode()).digest()

    chosen = sorted(right, key=rank)[:num_right] + sorted(wrong, key=rank)[: at_most - num_right]
    return sorted(chosen)


def _name(rollouts: list[dict[str, Any]], position: int) -> Any:
    """The rollout's own index, its position where the indices do not tell the rollouts apart."""
    indices = [rollout.get("index") for rollout in rollouts]
    return indices[position] if None not in indices and len({*map(str, indices)}) == len(indices) else position
