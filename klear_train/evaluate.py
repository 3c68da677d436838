"""Accuracy of a model on held-out records while it trains, by the code of ``klear eval``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from klear_data.evaluation.question import Question, question_of
from klear_data.generate.types import SamplingParams
from klear_data.stats import over_questions
from klear_train.rollout import Group, Judge, sample_groups
from klear_train.rollout.engines import RolloutEngine
from klear_train.settings import LossSection


@dataclass(frozen=True)
class Accuracy:
    """Share of accepted rollouts, averaged over problems.

    Attributes:
        mean: in [0, 1]; rollouts that could not be scored count as not right.
        half_width: half of the 95% interval over problems, NaN for one problem.
        problems: how many went into it.
    """

    mean: float
    half_width: float
    problems: int


def evaluate(
    engine: RolloutEngine,
    records: Sequence[dict[str, Any]],
    params: SamplingParams,
    *,
    judges: dict[str, Judge],
    pool: ThreadPoolExecutor,
) -> dict[str, Accuracy]:
    """Sample the records and judge them: accuracy by ability."""
    groups = sample_groups(engine, records, params, judges=judges, pool=pool, loss=LossSection())
    return accuracy_by_ability(groups)


def accuracy_by_ability(groups: Sequence[Group]) -> dict[str, Accuracy]:
    """Mean over problems of each problem's share of accepted rollouts."""
    found: dict[str, list[Question]] = {}
    for group in groups:
        found.setdefault(group.record["ability"], []).append(_question(group))
    return {ability: _accuracy([one.rate for one in questions]) for ability, questions in sorted(found.items())}


def _question(group: Group) -> Question:
    rollouts = [
        {**rollout.judgement, "finish_reason": rollout.finish_reason, "num_tokens": rollout.num_tokens}
        for rollout in group.rollouts
    ]
    return question_of({**group.record, "sampling": None, "rollouts": rollouts})


def _accuracy(rates: Sequence[float]) -> Accuracy:
    error = over_questions(rates)
    return Accuracy(fmean(rates), math.nan if error is None else (error.high - error.low) / 2, len(rates))
