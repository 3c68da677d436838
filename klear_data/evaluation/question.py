"""One judged record as counts: what every figure of an evaluation is made of."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from klear_data.records import Record, is_number

Equal = Callable[[str, str], bool]
"""Says whether two answers are the same; asked with the earlier one as the gold."""


@dataclass(frozen=True)
class Question:
    """The samples of one problem.

    ``samples`` counts every sample that was asked for: one that the verifier failed on (``XX``) or that never came
    is not right, and stays in the denominator.

    Attributes:
        source: the benchmark, the record's ``data_source``.
        id: the record's.
        item: the benchmark's own name for it, None if it has none.
        group: its difficulty or level as the benchmark says it, None if it does not.
        samples: asked for.
        correct: with the verdict ``AC``.
        verdicts: of the samples that came.
        failed: samples that never came (the server failed).
        truncated: cut off by the token limit.
        tokens: sum over the samples that say their number, ``counted`` of them.
        majority: 1 where most samples agree on a right answer, 0 where not, between where answers tie; None where
            answers can't be compared (code).
    """

    source: str
    id: str
    item: str | None
    group: str | None
    samples: int
    correct: int
    verdicts: Counter[str]
    failed: int
    truncated: int
    tokens: int
    counted: int
    majority: float | None

    @property
    def rate(self) -> float:
        """Share of the samples that are right."""
        return self.correct / self.samples if self.samples else 0.0


def question_of(record: Record, equal: Equal | None = None) -> Question:
    """Count a judged record.

    Args:
        record: with ``verdict`` in each rollout, or with none at all where every sample failed.
        equal: compares two answers for the majority; None leaves it out.
    """
    rollouts = [one for one in record["rollouts"] if one.get("finish_reason") != "error"]
    sampling = record.get("sampling") or {}
    listed = len(record["rollouts"]) + len(sampling.get("failed") or ())
    asked = sampling.get("n")
    samples = max(listed, asked) if isinstance(asked, int) else listed
    tokens = [one["num_tokens"] for one in rollouts if is_number(one.get("num_tokens"))]
    return Question(
        source=record.get("data_source") or "unnamed",
        id=record["id"],
        item=_text((record.get("extra_info") or {}).get("item")),
        group=_group(record),
        samples=samples,
        correct=sum(one["verdict"] == "AC" for one in rollouts),
        verdicts=Counter(one["verdict"] for one in rollouts),
        failed=samples - len(rollouts),
        truncated=sum(one.get("finish_reason") == "length" for one in rollouts),
        tokens=sum(tokens),
        counted=len(tokens),
        majority=majority(rollouts, equal) if equal is not None and record["ability"] == "math" else None,
    )


def majority(rollouts: list[dict[str, Any]], equal: Equal) -> float:
    """The chance that the most frequent answer is right, ties drawn by lot.

    Answers are one where the verifier says they are equal: all that it accepted, and wrong ones that are equal to
    one another. A sample without an answer or without its think tags has no vote.
    """
    right = sum(one["verdict"] == "AC" for one in rollouts)
    wrong = Counter(
        one["answer"] for one in rollouts if one["verdict"] not in ("AC", "NA", "FE") and one.get("answer") is not None
    )
    if right == 0 or right > wrong.total():
        return float(right > 0)
    votes_of: dict[str, int] = {}  # of each class, under its first answer
    for answer, votes in wrong.most_common():
        known = next((first for first in votes_of if equal(first, answer)), answer)
        votes_of[known] = votes_of.get(known, 0) + votes
    most = max(votes_of.values())
    if right != most:
        return float(right > most)
    return 1 / (1 + list(votes_of.values()).count(most))


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """The chance that at least one of ``k`` samples drawn from those at hand is right (Chen et al. 2021, Eq. 1).

    Unbiased for the chance that one of k new samples is.

    Raises:
        ValueError: fewer samples than k.

    >>> pass_at_k(4, 1, 2), pass_at_k(4, 3, 2)
    (0.5, 1.0)
    """
    if not 1 <= k <= samples:
        raise ValueError(f"pass@{k} of {samples} samples; expected k from 1 to the number of samples")
    return 1.0 - math.comb(samples - correct, k) / math.comb(samples, k)


def _group(record: Record) -> str | None:
    extra = record.get("extra_info") or {}
    return next((text for key in ("difficulty", "level") if (text := _text(extra.get(key))) is not None), None)


def _text(value: object) -> str | None:
    return None if value is None or isinstance(value, dict | list) else str(value)
