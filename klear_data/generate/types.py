"""What goes into a sampler and what comes out, whichever backend does the work."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True)
class SamplingParams:
    """How to sample.

    Attributes:
        n: completions a prompt.
        temperature: divides the logits; 0 takes the most likely token each time.
        top_p: draw from the smallest set of tokens that holds this much probability.
        max_tokens: longest completion, in tokens.
        seed: with the record's id and the rollout's index it decides every draw.
    """

    n: int = 16
    temperature: float = 1.0
    top_p: float = 0.95
    max_tokens: int = 32768
    seed: int = 0

    def __post_init__(self) -> None:
        for name, good, expected in (
            ("n", self.n >= 1, "at least 1"),
            ("temperature", self.temperature >= 0, "0 or more"),
            ("top_p", 0 < self.top_p <= 1, "more than 0 and at most 1"),
            ("max_tokens", self.max_tokens >= 1, "at least 1"),
        ):
            if not good:
                raise ValueError(f"{name}: got {getattr(self, name)}; expected {expected}")


@dataclass(frozen=True)
class Prompt:
    """One problem to sample.

    Attributes:
        record_id: names the problem's random draws.
        messages: the chat so far.
        first_index: number of the first rollout, above 0 when more are appended to earlier ones.
    """

    record_id: str
    messages: list[dict[str, Any]]
    first_index: int = 0


@dataclass(frozen=True)
class Completion:
    """One rollout.

    Attributes:
        index: its number among the problem's rollouts.
        text: what the model wrote, tags included, without the token that ended it.
        finish_reason: ``stop`` where the model ended it, ``length`` where the limit did.
        token_ids: what it drew, the ending token included.
        logprobs: log-probability of each under the model at the sampling temperature, before top-p.
    """

    index: int
    text: str
    finish_reason: FinishReason
    token_ids: list[int] = field(repr=False)
    logprobs: list[float] = field(repr=False)

    def as_rollout(self) -> dict[str, Any]:
        """The contract's ``rollouts`` entry."""
        return {
            "index": self.index,
            "completion": self.text,
            "finish_reason": self.finish_reason,
            "num_tokens": len(self.token_ids),
        }


@dataclass(frozen=True)
class Sampled:
    """All rollouts of one prompt.

    Attributes:
        record_id: of the prompt.
        prompt_ids: its tokens.
        completions: in the order of their indices.
        prompt_too_long: the prompt leaves no room in the model's context; the completions are empty.
    """

    record_id: str
    prompt_ids: list[int] = field(repr=False)
    completions: list[Completion]
    prompt_too_long: bool = False
