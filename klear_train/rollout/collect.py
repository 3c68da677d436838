"""Rollouts of an RL step: sampled by the policy, judged while the rest is still being written."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch

from klear_data.generate.types import Prompt, Sampled, SamplingParams
from klear_train.advantage import group_advantages
from klear_train.overlong import soft_overlong_penalty, without_cut_off
from klear_train.rollout.engines import RolloutEngine
from klear_train.rollout.judges import judge_group
from klear_train.rollout.types import Group, Judge, Judgement, Rollout
from klear_train.settings import RLConfig


def sample_groups(
    engine: RolloutEngine,
    records: Sequence[dict[str, Any]],
    params: SamplingParams,
    *,
    judges: dict[str, Judge],
    pool: ThreadPoolExecutor,
    config: RLConfig,
) -> list[Group]:
    """Sample every record and judge its rollouts, in the order of the records.

    A record's rollouts go to the pool as soon as the last of them is written, so judging overlaps with
    sampling. A verifier that fails gives verdict ``XX`` and no reward (it is the verifier that says so).
    """
    by_id = {record["id"]: record for record in records}
    judged: dict[str, Future[list[Judgement]]] = {}

    def submit(sampled: Sampled) -> None:
        record = by_id[sampled.record_id]
        judged[sampled.record_id] = pool.submit(judge_group, record, sampled, judges[record["ability"]])

    prompts = [Prompt(record["id"], record["prompt"]) for record in records]
    done = list(engine.sample(prompts, params, submit))
    return [make_group(by_id[one.record_id], one, verdicts_of(judged[one.record_id], one), config) for one in done]


def verdicts_of(judged: Future[list[Judgement]], sampled: Sampled) -> list[Judgement]:
    """What the verifier said; where it broke down altogether, ``XX`` for every completion, and so no reward."""
    try:
        return judged.result()
    except Exception as error:  # noqa: BLE001  (whatever it died of: enough of them end the run)
        failed = {"reward": None, "verdict": "XX", "error": f"{type(error).__name__}: {error}"}
        return [dict(failed) for _ in sampled.completions]


def make_group(record: dict[str, Any], sampled: Sampled, judgements: Sequence[Judgement], config: RLConfig) -> Group:
    """Judged completions as a group, with the advantages that their rewards give them."""
    rewards = [
        shaped(judgement["reward"], len(completion.token_ids), config)
        for completion, judgement in zip(sampled.completions, judgements, strict=True)
    ]
    loss = config.loss
    advantages = group_advantages(rewards, scale=loss.advantage_scale, baseline=loss.advantage_baseline)
    given = [None] * len(rewards) if advantages is None else advantages
    if config.rollout.drop_truncated:
        given = without_cut_off(given, [one.finish_reason == "length" for one in sampled.completions])
    rollouts = []
    for at, (completion, judgement) in enumerate(zip(sampled.completions, judgements, strict=True)):
        logprobs_T = torch.tensor(completion.logprobs, dtype=torch.float32)
        rollouts.append(
            Rollout(
                index=completion.index,
                text=completion.text,
                finish_reason=completion.finish_reason,
                prompt_ids=sampled.prompt_ids,
                response_ids=completion.token_ids,
                sampler_logprobs_T=logprobs_T,
                judgement=judgement,
                reward=rewards[at],
                advantage=given[at],
                old_logprobs_T=logprobs_T,
            )
        )
    return Group(record, rollouts, has_signal=any(rollout.advantage is not None for rollout in rollouts))


def shaped(reward: float | None, num_tokens: int, config: RLConfig) -> float | None:
    """A verifier's reward less the soft overlong penalty, where one is set."""
    rollout = config.rollout
    if reward is None or not rollout.overlong_buffer:
        return reward
    penalty = soft_overlong_penalty(
        num_tokens, max_tokens=rollout.max_tokens, buffer_tokens=rollout.overlong_buffer
    )  # fmt: skip
    return reward + rollout.overlong_penalty * penalty
