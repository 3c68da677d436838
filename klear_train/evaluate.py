"""Accuracy of a model on held-out records, with its uncertainty."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from klear_data.generate.types import SamplingParams
from klear_data.stats import mean_ci95
from klear_train.rollout import Group, Judge, sample_groups
from klear_train.rollout.engines import RolloutEngine
from klear_train.settings import LossSection


@dataclass(frozen=True)
class Accuracy:
    """Share of accepted rollouts, averaged over problems.

    Attributes:
        mean: in [0, 1]; problems whose rollouts are all unscored are left out.
        half_width: of the 95% interval over problems.
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
    """Mean over problems of each problem's share of accepted rollouts, unscored ones left out."""
    rates: dict[str, list[float]] = defaultdict(list)
    for group in groups:
        scored = [rollout.correct for rollout in group.rollouts if rollout.reward is not None]
        if scored:
            rates[group.record["ability"]].append(sum(scored) / len(scored))
    return {ability: _accuracy(values) for ability, values in sorted(rates.items())}


def _accuracy(rates: Sequence[float]) -> Accuracy:
    if len(rates) < 2:
        return Accuracy(rates[0], math.nan, 1)
    mean, low, _ = mean_ci95(rates)
    return Accuracy(mean, mean - low, len(rates))
