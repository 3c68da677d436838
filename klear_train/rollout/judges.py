"""The verifiers of the RL loop: those of ``klear reward-math`` and ``klear reward-code``, started once."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from klear_data.errors import RecordError
from klear_data.generate.types import Sampled
from klear_data.records import problem_of
from klear_train.rollout.types import Judge, Judgement
from klear_train.settings import RewardSection
from sandbox.formats import parse_tests
from sandbox.types import TestsError


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


def judge_group(record: dict[str, Any], sampled: Sampled, judge: Judge) -> list[Judgement]:
    """Judge the completions of one record; equal texts are judged once, as their verdict is the same."""
    gold = record["reward_model"]["ground_truth"]
    known: dict[str, Judgement] = {}
    for completion in sampled.completions:
        if completion.text not in known:
            known[completion.text] = judge(gold, completion.text)
    return [known[completion.text] for completion in sampled.completions]


def check_records(records: Sequence[dict[str, Any]], heldout: Sequence[dict[str, Any]] = ()) -> None:
    """Raise RecordError unless there are records and every one, held-out ones too, can be sampled and judged."""
    if not records:
        raise RecordError(
            "--data: no records; expected the output of `klear format rl`; check the path or the stage before"
        )
    for record in [*records, *heldout]:
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
