"""Rollouts: sampled by an engine that follows the policy, judged by the real verifiers."""

from klear_train.rollout.collect import make_group, sample_groups
from klear_train.rollout.judges import check_records, judge_group, make_judges
from klear_train.rollout.types import Group, Judge, Judgement, Rollout

__all__ = [
    "Group",
    "Judge",
    "Judgement",
    "Rollout",
    "check_records",
    "judge_group",
    "make_group",
    "make_judges",
    "sample_groups",
]
