"""Rollouts of an RL step: sampled by the policy, judged while the rest is still being written.

A *group* is one record with its rollouts; the advantage of a rollout is relative to its group.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from klear_data.errors import RecordError
from klear_data.generate.transformers_backend import generate
from klear_data.generate.types import Completion, Prompt, Sampled, SamplingParams
from klear_data.records import problem_of
from klear_train.advantage import group_advantages
from klear_train.packing import Example
from klear_train.settings import LossSection, RewardSection
from sandbox.formats import parse_tests
from sandbox.types import TestsError

Judgement = dict[str, Any]
Judge = Callable[[str, str], Judgement]
"""(ground truth, completion) → what the verifier adds to a rollout: ``reward``, ``verdict``, …"""


@dataclass(frozen=True)
class Rollout:
    """One response with its judgement and, where its group carries a signal, its advantage."""

    prompt_ids: list[int]
    completion: Completion
    judgement: Judgement
    advantage: float | None

    @property
    def reward(self) -> float | None:
        reward: float | None = self.judgement["reward"]
        return reward

    @property
    def correct(self) -> bool:
        return bool(self.judgement["verdict"] == "AC")

    @property
    def num_tokens(self) -> int:
        return len(self.completion.token_ids)

    def example(self) -> Example:
        """Prompt and response as one sequence, with every response token trained."""
        return Example(
            self.prompt_ids + self.completion.token_ids, [False] * len(self.prompt_ids) + [True] * self.num_tokens
        )


@dataclass(frozen=True)
class Group:
    """All rollouts of one record; ``has_signal`` is false where their rewards are all equal."""

    record: dict[str, Any]
    rollouts: list[Rollout]
    has_signal: bool


def make_judges(config: RewardSection, abilities: set[str], stack: ExitStack) -> dict[str, Judge]:
    """The verifiers of the abilities in the data, started once; ``stack`` closes them.

    They are those of ``klear reward-math`` and ``klear reward-code``, with the same scheme and tag rule.
    """
    judges: dict[str, Judge] = {}
    if "math" in abilities:
        from klear_data.reward.math import MathRewarder

        judges["math"] = stack.enter_context(
            MathRewarder(scheme=config.scheme, think=config.think, jobs=config.jobs)
        ).reward_one
    if "code" in abilities:
        from klear_data.reward.code import CodeRewarder

        rewarder = stack.enter_context(
            CodeRewarder(
                scheme=config.scheme,
                think=config.think,
                time_limit_s=config.code_time_limit_s,
                max_tests=config.max_tests,
                jobs=config.jobs,
            )
        )
        judges["code"] = rewarder.reward_one if config.keep_weak else _unless_weak(rewarder.reward_one)
    return judges


def _unless_weak(judge: Judge) -> Judge:
    """Take the reward from verdicts that a program could forge: RL would learn to."""

    def judge_strictly(ground_truth: str, completion: str) -> Judgement:
        judgement = judge(ground_truth, completion)
        return {**judgement, "reward": None} if judgement.get("weak") else judgement

    return judge_strictly


def check_records(records: Sequence[dict[str, Any]]) -> None:
    """Raise RecordError unless every record can be sampled and judged."""
    if not records:
        raise RecordError(
            "--data: no records; expected the output of `klear format rl`; check the path or the stage before"
        )
    for record in records:
        problem = problem_of(record) or _unverifiable(record)
        if problem is not None:
            raise RecordError(f"record {record.get('id', '?')}: {problem}")


def _unverifiable(record: dict[str, Any]) -> str | None:
    gold = record["reward_model"]["ground_truth"]
    if not gold.strip():
        return "key 'reward_model.ground_truth' is empty; expected an answer or tests; run `klear curate` on the source"
    if record["ability"] == "code":
        try:
            parse_tests(gold)
        except TestsError as error:
            return f"its tests can't be used ({error}); expected one of the forms in docs/records.md; drop the record"
    return None


def sample_groups(
    model: Any,
    tokenizer: Any,
    records: Sequence[dict[str, Any]],
    params: SamplingParams,
    *,
    judges: dict[str, Judge],
    pool: ThreadPoolExecutor,
    batch_size: int,
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

    prompts = (Prompt(record["id"], record["prompt"]) for record in records)
    done = list(generate(model, tokenizer, prompts, params, batch_size=batch_size, on_sampled=submit))
    return [_group(by_id[one.record_id], one, judged[one.record_id].result(), loss) for one in done]


def judge_group(record: dict[str, Any], sampled: Sampled, judge: Judge) -> list[Judgement]:
    """Judge the completions of one record; equal texts are judged once, as their verdict is the same."""
    gold = record["reward_model"]["ground_truth"]
    known: dict[str, Judgement] = {}
    for completion in sampled.completions:
        if completion.text not in known:
            known[completion.text] = judge(gold, completion.text)
    return [known[completion.text] for completion in sampled.completions]


def _group(record: dict[str, Any], sampled: Sampled, judgements: list[Judgement], loss: LossSection) -> Group:
    rewards = [judgement["reward"] for judgement in judgements]
    advantages = group_advantages(rewards, scale=loss.advantage_scale, baseline=loss.advantage_baseline)
    rollouts = [
        Rollout(sampled.prompt_ids, completion, judgement, None if advantages is None else advantages[at])
        for at, (completion, judgement) in enumerate(zip(sampled.completions, judgements, strict=True))
    ]
    return Group(record, rollouts, advantages is not None)
