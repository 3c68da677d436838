"""The rewards as the functions that trainers call: TRL's ``reward_funcs`` and verl's ``compute_score``.

Both use one rewarder a process, whose workers start with the first answer that needs one. Neither
installs a signal handler nor forks the trainer, so they run in threads and Ray workers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from klear_data.reward.math import MathRewarder
from klear_data.reward.scheme import Scheme
from klear_data.reward.think import ThinkMode

Completion = str | Sequence[dict[str, Any]]


def completion_text(completion: Completion) -> str:
    """A completion's text: TRL hands over a string, or the chat messages the model wrote."""
    if isinstance(completion, str):
        return completion
    return "".join(str(message.get("content") or "") for message in completion)


def trl_math_reward(
    *, scheme: Scheme = "paper", think: ThinkMode = "full", jobs: int = 2, timeout_s: float = 5.0
) -> Callable[..., list[float | None]]:
    """A reward function for TRL's trainers, ``GRPOTrainer(reward_funcs=trl_math_reward())``.

    The data set needs a column ``ground_truth`` (klear's records bring it as ``reward_model``), ``solution``
    or ``answer`` with the gold. TRL leaves a ``None`` out of the sum: that is what an unscored rollout gets.

    Raises:
        ValueError: (from the returned function) no column holds the gold answers.
    """
    rewarder = MathRewarder(scheme=scheme, think=think, jobs=jobs, timeout_s=timeout_s)

    def klear_math(completions: Sequence[Completion], **columns: Any) -> list[float | None]:
        golds = _golds(columns)
        return [
            rewarder.reward_one(gold, completion_text(completion))["reward"]
            for gold, completion in zip(golds, completions, strict=True)
        ]

    return klear_math


def _golds(columns: dict[str, Any]) -> Sequence[Any]:
    if "reward_model" in columns:
        return [entry["ground_truth"] for entry in columns["reward_model"]]
    for name in ("ground_truth", "solution", "answer"):
        if name in columns:
            return list(columns[name])
    raise ValueError(
        "trl_math_reward: no gold answers among the data set's columns "
        f"({', '.join(sorted(columns)) or 'none'}); expected reward_model, ground_truth, solution or answer; "
        "rename the column"
    )


_REWARDERS: dict[tuple[str, str, float], MathRewarder] = {}


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: str | list[str],
    extra_info: dict[str, Any] | None = None,
    *,
    scheme: Scheme = "paper",
    think: ThinkMode = "full",
    timeout_s: float = 5.0,
    **_: Any,
) -> dict[str, Any]:
    """The math reward as verl calls it (``custom_reward_function.path=…/hooks.py name=compute_score``).

    verl needs a number for every rollout: an unscored one (verdict XX) gets 0.0, half way between right and
    wrong in the paper's scheme, and ``scored: 0.0``, so that it can be filtered and is seen in the metrics.
    """
    del data_source, extra_info
    key = (scheme, think, timeout_s)
    if key not in _REWARDERS:
        _REWARDERS[key] = MathRewarder(scheme=scheme, think=think, timeout_s=timeout_s)
    found = _REWARDERS[key].reward_one(ground_truth, solution_str)
    scored = found["reward"] is not None
    return {
        "score": found["reward"] if scored else 0.0,
        "acc": 1.0 if found["verdict"] == "AC" else 0.0,
        "scored": 1.0 if scored else 0.0,
        "format_ok": 1.0 if found["format_ok"] else 0.0,
        "verdict": found["verdict"],
    }
