"""Rollouts of an RL step: sampled by the policy, judged while the rest is still being written."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch

from klear_data.generate.types import Prompt, Sampled, SamplingParams
from klear_train.advantage import group_advantages
from klear_train.rollout.engines import RolloutEngine
from klear_train.rollout.judges import judge_group
from klear_train.rollout.types import Group, Judge, Judgement, Rollout
from klear_train.settings import LossSection


def sample_groups(
    engine: RolloutEngine,
    records: Sequence[dict[str, Any]],
    params: SamplingParams,
    *,
    judges: dict[str, Judge],
    pool: ThreadPoolExecutor,
    loss: LossSection,
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
    return [make_group(by_id[one.record_id], one, judged[one.record_id].result(), loss) for one in done]


def make_group(record: dict[str, Any], sampled: Sampled, judgements: Sequence[Judgement], loss: LossSection) -> Group:
    """Judged completions as a group, with the advantages that their rewards give them."""
    rewards = [judgement["reward"] for judgement in judgements]
    advantages = group_advantages(rewards, scale=loss.advantage_scale, baseline=loss.advantage_baseline)
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
                advantage=None if advantages is None else advantages[at],
                old_logprobs_T=logprobs_T,
            )
        )
    return Group(record, rollouts, advantages is not None)
