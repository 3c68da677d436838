"""The rewards as the functions that trainers call: TRL's ``reward_funcs`` and verl's ``compute_score``.

Math and code problems may stand in one data set: the verifier is picked by the ``ability`` that klear's exports
carry. Neither function installs a signal handler nor forks the trainer, so they run in threads and Ray workers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from klear_data.reward.rewarders import Ability, RewardSettings, ability_of, judged

Completion = str | Sequence[dict[str, Any]]
RewardFunction = Callable[..., list[float | None]]


def completion_text(completion: Completion) -> str:
    """A completion's text: TRL hands over a string, or the chat messages the model wrote."""
    if isinstance(completion, str):
        return completion
    return "".join(str(message.get("content") or "") for message in completion)


def trl_reward(**settings: Any) -> RewardFunction:
    """A reward function for TRL's trainers that judges math and code, ``GRPOTrainer(reward_funcs=trl_reward())``.

    The data set needs a column ``reward_model`` (as klear exports it), ``ground_truth``, ``solution`` or ``answer``
    with the gold or the tests; ``ability`` (or ``extra_info``) says which of both. An unscored rollout (``XX``) gets
    ``None``: TRL leaves it out of its group's mean and gives it no advantage.

    Args:
        settings: of :class:`klear_data.reward.rewarders.RewardSettings`.

    Raises:
        ValueError: (from the returned function) no column holds the gold answers.
        sandbox.IsolationError: (likewise) this host can't hold programs in.
    """
    return _trl_function("klear", None, RewardSettings(**settings))


def trl_math_reward(**settings: Any) -> RewardFunction:
    """As :func:`trl_reward`, for math problems alone: others get ``None``."""
    return _trl_function("klear_math", "math", RewardSettings(**settings))


def trl_code_reward(**settings: Any) -> RewardFunction:
    """As :func:`trl_reward`, for code problems alone: others get ``None``."""
    return _trl_function("klear_code", "code", RewardSettings(**settings))


def _trl_function(name: str, only: Ability | None, settings: RewardSettings) -> RewardFunction:
    def reward(completions: Sequence[Completion], **columns: Any) -> list[float | None]:
        golds = _golds(name, columns)
        abilities = _abilities(columns, golds)

        def one(at: int) -> float | None:
            if only is not None and abilities[at] != only:
                return None
            found: float | None = judged(settings, abilities[at], golds[at], completion_text(completions[at]))["reward"]
            return found

        if len(golds) != len(completions):
            raise ValueError(f"{name}: {len(golds)} golds for {len(completions)} completions; expected one for each")
        with ThreadPoolExecutor(settings.jobs, thread_name_prefix=name) as threads:
            rewards = list(threads.map(one, range(len(golds))))
        log_metric = columns.get("log_metric")
        asked = [found for ability, found in zip(abilities, rewards, strict=True) if only in (None, ability)]
        if log_metric is not None and asked:
            log_metric(f"{name}/unscored", asked.count(None) / len(asked))
        return rewards

    reward.__name__ = name  # what TRL calls it in its metrics
    return reward


def _golds(name: str, columns: dict[str, Any]) -> Sequence[Any]:
    if "reward_model" in columns:
        return [entry["ground_truth"] for entry in columns["reward_model"]]
    for column in ("ground_truth", "solution", "answer"):
        if column in columns:
            return list(columns[column])
    raise ValueError(
        f"{name}: no gold answers among the data set's columns ({', '.join(sorted(columns)) or 'none'}); expected "
        "reward_model, ground_truth, solution or answer; rename the column"
    )


def _abilities(columns: dict[str, Any], golds: Sequence[Any]) -> list[Ability]:
    named = columns.get("ability") or [(info or {}).get("ability") for info in columns.get("extra_info") or ()]
    return [ability_of(said, gold) for said, gold in zip(named or [None] * len(golds), golds, strict=True)]


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: str | list[str],
    extra_info: dict[str, Any] | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """The reward as verl calls it (``custom_reward_function.path=…/hooks.py name=compute_score``).

    ``extra_info["ability"]``, which klear's exports carry, picks the verifier; without it, tests are told by their
    form. verl needs a number for every rollout: an unscored one (verdict XX) gets the number half way between wrong
    and right, and ``scored: 0.0``, so that it can be filtered and is seen in the metrics.

    Args:
        settings: of :class:`klear_data.reward.rewarders.RewardSettings` (verl: ``reward_kwargs``); what verl adds about
            a reward model is not looked at.

    Returns:
        The same keys for math and code, as verl stacks them.
    """
    del data_source
    chosen = RewardSettings(**{key: value for key, value in settings.items() if not key.startswith("reward_")})
    ability = ability_of((extra_info or {}).get("ability"), ground_truth)
    found = judged(chosen, ability, ground_truth, solution_str)
    scored = found["reward"] is not None
    return {
        "score": found["reward"] if scored else chosen.halfway(ability),
        "acc": 1.0 if found["verdict"] == "AC" else 0.0,
        "scored": 1.0 if scored else 0.0,
        "format_ok": 1.0 if found["format_ok"] else 0.0,
        "verdict": found["verdict"],
    }
