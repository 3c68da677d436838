"""Two models on the same questions: the difference, how sure it is, and the questions that it comes from."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from klear_data.evaluation.question import Question
from klear_data.stats import over_questions, over_samples

DRAWS = 100_000
_LARGEST_TABLE = 20_000_000


@dataclass(frozen=True)
class Pair:
    """One question, answered by both models."""

    a: Question
    b: Question

    @property
    def difference(self) -> float:
        """How much more often B is right than A."""
        return self.b.rate - self.a.rate


def pairs_of(a: Iterable[Question], b: Iterable[Question]) -> tuple[list[Pair], int, int]:
    """Questions matched by benchmark, id and, where an id stands there twice, its turn.

    Returns:
        The pairs in the order of A, and how many questions only A has, and only B.
    """
    of_b = _keyed(b)
    of_a = _keyed(a)
    pairs = [Pair(question, of_b[key]) for key, question in of_a.items() if key in of_b]
    return pairs, len(of_a) - len(pairs), len(of_b) - len(pairs)


def _keyed(questions: Iterable[Question]) -> dict[tuple[str, str, int], Question]:
    turns: Counter[tuple[str, str]] = Counter()
    found = {}
    for question in questions:
        key = (question.source, question.id)
        found[(*key, turns[key])] = question
        turns[key] += 1
    return found


def comparison(pairs: Sequence[Pair]) -> dict[str, Any]:
    """What ``klear compare`` says of one benchmark; docs/evaluation.md explains each key."""
    differences = [pair.difference for pair in pairs]
    p, how = sign_flip(pairs)
    return {
        "questions": len(pairs),
        "n": [min(pair.a.samples for pair in pairs), min(pair.b.samples for pair in pairs)],
        "a": sum(pair.a.rate for pair in pairs) / len(pairs),
        "b": sum(pair.b.rate for pair in pairs) / len(pairs),
        "difference": {
            "value": sum(differences) / len(pairs),
            "over_questions": _error(over_questions(differences, least=-1.0)),
            "over_samples": _difference_over_samples(pairs),
        },
        "sign_flip": {"p": p, "method": how},
        "better": sum(one > 0 for one in differences),
        "worse": sum(one < 0 for one in differences),
        "per_question": [
            {
                "id": pair.a.id, "item": pair.a.item, "a": [pair.a.correct, pair.a.samples],
                "b": [pair.b.correct, pair.b.samples], "difference": pair.difference, "fisher_p": fisher(pair),
            }
            for pair in moved(pairs)
        ],
    }  # fmt: skip


def moved(pairs: Sequence[Pair]) -> list[Pair]:
    """The questions on which the models differ, the most first."""
    different = [pair for pair in pairs if pair.difference]
    return sorted(different, key=lambda pair: -abs(pair.difference))


def sign_flip(pairs: Sequence[Pair]) -> tuple[float, str]:
    """The two-sided p of "neither model is better": each difference could as well have had the other sign.

    Exact where the sums fit into a table (all sums of ± differences, in units of their common denominator), else by
    100,000 random flips.
    """
    import numpy as np

    unit = math.lcm(*(samples for pair in pairs for samples in (pair.a.samples, pair.b.samples) if samples))
    steps = [round(abs(pair.difference) * unit) for pair in pairs]
    total = sum(steps)
    seen = abs(sum(round(pair.difference * unit) for pair in pairs))
    if total * len(steps) <= _LARGEST_TABLE:
        chance = np.zeros(2 * total + 1)
        chance[total] = 1.0
        for step in filter(None, steps):
            chance = (np.roll(chance, step) + np.roll(chance, -step)) / 2
        return float(min(1.0, chance[: total - seen + 1].sum() + chance[total + max(seen, 1) :].sum())), "exact"
    rng = np.random.default_rng(0)
    sizes = np.asarray([abs(pair.difference) for pair in pairs])
    seen_mean = abs(sum(pair.difference for pair in pairs)) - 1e-9
    beyond = 0
    for _ in range(DRAWS // 1000):
        signs = rng.integers(0, 2, (1000, len(sizes))) * 2 - 1
        beyond += int((np.abs(signs @ sizes) >= seen_mean).sum())
    return (1 + beyond) / (1 + DRAWS), f"{DRAWS} random flips"


def fisher(pair: Pair) -> float:
    """Fisher's exact two-sided p for one question: could one model have given both sets of samples?"""
    na, nb = pair.a.samples, pair.b.samples
    right = pair.a.correct + pair.b.correct

    def ways(of_a: int) -> int:
        return math.comb(na, of_a) * math.comb(nb, right - of_a)

    seen = ways(pair.a.correct)
    possible = range(max(0, right - nb), min(na, right) + 1)
    return sum(ways(one) for one in possible if ways(one) <= seen) / math.comb(na + nb, right)


def _difference_over_samples(pairs: Sequence[Pair]) -> dict[str, Any] | None:
    """The questions are fixed and both models' samples independent: variances add up."""
    a = over_samples([pair.a.correct for pair in pairs], [pair.a.samples for pair in pairs])
    b = over_samples([pair.b.correct for pair in pairs], [pair.b.samples for pair in pairs])
    if a is None or b is None:
        return None
    se = math.hypot(a.se, b.se)
    half, mean = 1.959963984540054 * se, b.value - a.value
    return {"se": se, "low": max(-1.0, mean - half), "high": min(1.0, mean + half), "method": "normal"}


def _error(estimate: Any) -> dict[str, Any] | None:
    return None if estimate is None else {key: value for key, value in asdict(estimate).items() if key != "value"}
