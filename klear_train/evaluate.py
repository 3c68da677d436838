"""Accuracy of a model on held-out records, with its uncertainty."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from klear_data.generate.types import SamplingParams
from klear_train.rollout import Group, Judge, sample_groups
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
    model: Any,
    tokenizer: Any,
    records: Sequence[dict[str, Any]],
    params: SamplingParams,
    *,
    judges: dict[str, Judge],
    pool: ThreadPoolExecutor,
    batch_size: int,
) -> dict[str, Accuracy]:
    """Sample the records and judge them: accuracy by ability."""
    was_training = model.training
    model.eval()
    groups = sample_groups(
        model, tokenizer, records, params, judges=judges, pool=pool, batch_size=batch_size, loss=LossSection()
    )  # fmt: skip
    model.train(was_training)
    return accuracy_by_ability(groups)


def accuracy_by_ability(groups: Sequence[Group]) -> dict[str, Accuracy]:
    """Mean over problems of each problem's share of accepted rollouts, unscored ones left out."""
    rates: dict[str, list[float]] = defaultdict(list)
    for group in groups:
        scored = [rollout.correct for rollout in group.rollouts if rollout.reward is not None]
        if scored:
            rates[group.record["ability"]].append(sum(scored) / len(scored))
    return {ability: mean_with_interval(values) for ability, values in sorted(rates.items())}


def mean_with_interval(rates: Sequence[float]) -> Accuracy:
    """Mean and 95% half-width over problems, from their spread (normal approximation, n − 1).

    >>> mean_with_interval([1.0, 0.0, 1.0, 0.0]).mean
    0.5
    """
    n = len(rates)
    mean = sum(rates) / n
    variance = sum((rate - mean) ** 2 for rate in rates) / (n - 1) if n > 1 else math.nan
    return Accuracy(mean, 1.96 * math.sqrt(variance / n) if n > 1 else math.nan, n)
