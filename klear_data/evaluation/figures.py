"""The figures of a benchmark: accuracy with its errors, what went wrong how often, and the count of each question."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from klear_data.errors import UsageError
from klear_data.evaluation.question import Question, pass_at_k
from klear_data.stats import over_questions, over_samples

FAILURES = ("verifier_failed", "sampling_failed")


def by_source(questions: Iterable[Question]) -> dict[str, list[Question]]:
    """The questions of each benchmark, in the order in which they come."""
    found: dict[str, list[Question]] = {}
    for question in questions:
        found.setdefault(question.source, []).append(question)
    return found


def figures(questions: Sequence[Question], *, k: Sequence[int] | None = None) -> dict[str, Any]:
    """What ``summary.json`` says of one benchmark; docs/evaluation.md explains each key.

    Args:
        questions: of one benchmark, at least one.
        k: which pass@k; by default the powers of 4 below the number of samples, and that number itself.

    Raises:
        UsageError: a k above the number of samples of some question.
    """
    samples = [question.samples for question in questions]
    fewest = min(samples)
    wanted = _default_k(fewest) if k is None else sorted(set(k))
    if wanted and wanted[-1] > fewest:
        raise UsageError(
            f"--k {wanted[-1]}: {questions[0].source} has a question with {fewest} samples; expected k of at most "
            "that many; ask for a smaller k, or sample more with --n"
        )
    total = sum(samples)
    verdicts: Counter[str] = Counter()
    for question in questions:
        verdicts.update(question.verdicts)
    voted = [question.majority for question in questions if question.majority is not None]
    counted = sum(question.counted for question in questions)
    return {
        "questions": len(questions),
        "n": fewest,
        **({"n_most": max(samples)} if max(samples) > fewest else {}),
        "samples": total,
        "correct": sum(question.correct for question in questions),
        "avg": {
            **_over_questions([question.rate for question in questions]),
            "over_samples": _dict(over_samples([question.correct for question in questions], samples)),
        },
        "pass_at": {str(one): _over_questions([_pass(question, one) for question in questions]) for one in wanted},
        "maj": _over_questions(voted) if len(voted) == len(questions) else None,
        "rates": {
            name: count / total if total else 0.0
            for name, count in (
                ("truncated", sum(question.truncated for question in questions)),
                ("no_answer", verdicts["NA"]),
                ("tags_missing", verdicts["FE"]),
                ("verifier_failed", verdicts["XX"]),
                ("sampling_failed", sum(question.failed for question in questions)),
            )
        },
        "verdicts": dict(verdicts.most_common()),
        "mean_tokens": sum(question.tokens for question in questions) / counted if counted else None,
        "by_group": _by_group(questions),
        "per_question": [_counts(question) for question in questions],
    }


def _over_questions(values: Sequence[float]) -> dict[str, Any]:
    return {"value": sum(values) / len(values), "over_questions": _dict(over_questions(values))}


def _dict(estimate: Any) -> dict[str, Any] | None:
    """The error of an estimate; its value stands beside it."""
    return None if estimate is None else {key: value for key, value in asdict(estimate).items() if key != "value"}


def _pass(question: Question, k: int) -> float:
    return pass_at_k(question.samples, question.correct, k)


def _default_k(samples: int) -> list[int]:
    """
    >>> _default_k(64), _default_k(8), _default_k(1)
    ([4, 16, 64], [4, 8], [])
    """
    powers = [4**power for power in range(1, 16) if 4**power < samples]
    return [*powers, samples] if samples > 1 else []


def _by_group(questions: Sequence[Question]) -> dict[str, dict[str, Any]]:
    """Accuracy by the benchmark's own levels, where it has some."""
    groups: dict[str, list[float]] = {}
    for question in questions:
        if question.group is not None:
            groups.setdefault(question.group, []).append(question.rate)
    # A level a question (a problem's rating, say) is no grouping.
    if not 1 < len(groups) <= 12:
        return {}
    return {name: {"questions": len(rates), "avg": sum(rates) / len(rates)} for name, rates in sorted(groups.items())}


def _counts(question: Question) -> dict[str, Any]:
    return {
        "id": question.id,
        "item": question.item,
        "n": question.samples,
        "correct": question.correct,
        "maj": question.majority,
        "truncated": question.truncated,
        "failed": question.failed,
        "verdicts": dict(question.verdicts.most_common()),
        "mean_tokens": question.tokens / question.counted if question.counted else None,
    }
