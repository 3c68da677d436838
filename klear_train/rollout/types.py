"""What sampling hands to the update: a *group* is one record with its rollouts, judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from klear_train.packing import Example

Judgement = dict[str, Any]
Judge = Callable[[str, str], Judgement]
"""(ground truth, completion) → what the verifier adds to a rollout: ``reward``, ``verdict``, …"""


@dataclass(frozen=True)
class Rollout:
    """One response with its judgement and, where its group carries a signal, its advantage.

    Shapes: T response tokens, the one that ended it included.

    Attributes:
        index: its number among the record's rollouts.
        text: the response, without the token that ended it.
        finish_reason: ``stop`` or ``length``.
        prompt_ids: tokens of the prompt.
        response_ids: the T tokens drawn.
        sampler_logprobs_T: float32, log-probability of each when it was drawn, at the sampling temperature.
        judgement: what the verifier said; its ``reward`` is None where it failed.
        reward: what the advantage is made of: the verifier's reward with what shapes it (overlong penalty).
        advantage: None where the rollout has no reward or its group carries no signal.
        old_logprobs_T: π_old of the importance ratio; the sampler's own unless the trainer computed them again.
        reference_logprobs_T: of the reference model, where the KL to it is part of the loss.
    """

    index: int
    text: str
    finish_reason: str
    prompt_ids: list[int]
    response_ids: list[int]
    sampler_logprobs_T: Tensor
    judgement: Judgement
    reward: float | None
    advantage: float | None
    old_logprobs_T: Tensor
    reference_logprobs_T: Tensor | None = None

    @property
    def correct(self) -> bool:
        return bool(self.judgement["verdict"] == "AC")

    @property
    def cut_off(self) -> bool:
        return self.finish_reason == "length"

    @property
    def trains(self) -> bool:
        """Whether it carries a gradient: it has an advantage, and a token to give it to."""
        return self.advantage is not None and self.num_tokens > 0

    @property
    def num_tokens(self) -> int:
        return len(self.response_ids)

    def example(self) -> Example:
        """Prompt and response as one sequence, with every response token trained."""
        return Example(
            self.prompt_ids + self.response_ids, [False] * len(self.prompt_ids) + [True] * self.num_tokens
        )  # fmt: skip


@dataclass(frozen=True)
class Group:
    """All rollouts of one record; ``has_signal`` is false where their rewards are all equal."""

    record: dict[str, Any]
    rollouts: list[Rollout]
    has_signal: bool
