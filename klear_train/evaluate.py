"""Accuracy of the policy on held-out records while it trains, by the code of ``klear eval``."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from statistics import fmean
from typing import Any

from klear_data.evaluation.question import Question, question_of
from klear_data.generate.types import SamplingParams
from klear_data.stats import over_questions
from klear_train.distributed import World
from klear_train.rollout import Group, Judge, sample_groups
from klear_train.rollout.engines import RolloutEngine
from klear_train.rollout.share import sample_together
from klear_train.settings import RLConfig


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
    config: RLConfig,
    world: World,
    *,
    judges: dict[str, Judge],
    pool: ThreadPoolExecutor,
) -> dict[str, float]:
    """Sample held-out records, always with the same draws, and judge them: avg@n by ability, for metrics.jsonl.

    Args:
        engine: samples; every rank its share of the records.
        records: the first ``evaluation.max_records`` of each ability are taken.
        config: ``evaluation`` says how to sample, ``rollout.max_tokens`` how long.
        world: the processes of the run.
        judges, pool: as for training.

    Raises:
        SamplerFailed: the engine of a rank died.
    """
    by_ability: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        by_ability.setdefault(record["ability"], []).append(record)
    chosen = [record for found in by_ability.values() for record in found[: config.evaluation.max_records]]
    params = SamplingParams(
        n=config.evaluation.n,
        temperature=config.evaluation.temperature,
        top_p=config.evaluation.top_p,
        max_tokens=config.rollout.max_tokens,
        seed=config.seed,
    )
    sample = partial(sample_groups, engine, params=params, judges=judges, pool=pool, config=config)
    groups = sample_together(world, chosen, sample, where="evaluation")
    row: dict[str, float] = {}
    for ability, accuracy in accuracy_by(groups, lambda record: record["ability"]).items():
        row |= {f"eval_{ability}": accuracy.mean, f"eval_{ability}_half_width": accuracy.half_width}
    return row


def accuracy_by(groups: Sequence[Group], key: Callable[[dict[str, Any]], str]) -> dict[str, Accuracy]:
    """Mean over problems of each problem's share of accepted rollouts, by some property of the record."""
    found: dict[str, list[Question]] = {}
    for group in groups:
        found.setdefault(key(group.record), []).append(_question(group))
    return {name: _accuracy([one.rate for one in questions]) for name, questions in sorted(found.items())}


def _question(group: Group) -> Question:
    rollouts = [
        {**rollout.judgement, "finish_reason": rollout.finish_reason, "num_tokens": rollout.num_tokens}
        for rollout in group.rollouts
    ]
    return question_of({**group.record, "sampling": None, "rollouts": rollouts})


def _accuracy(rates: Sequence[float]) -> Accuracy:
    error = over_questions(rates)
    return Accuracy(fmean(rates), math.nan if error is None else (error.high - error.low) / 2, len(rates))
