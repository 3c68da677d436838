"""What goes into a sampler and what comes out, whichever backend does the work."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

FinishReason = Literal["stop", "length"]
"""What klear's own decode loop says; a server may have further reasons, which are kept as they are."""


@dataclass(frozen=True)
class SamplingParams:
    """How to sample.

    Attributes:
        n: completions a prompt.
        temperature: divides the logits; 0 takes the most likely token each time.
        top_p: draw from the smallest set of tokens that holds this much probability.
        max_tokens: longest completion, in tokens.
        seed: with the record's id and the rollout's index it decides every draw.
        stop: texts that end a completion; they are not part of it.
    """

    n: int = 16
    temperature: float = 1.0
    top_p: float = 0.95
    max_tokens: int = 32768
    seed: int = 0
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, good, expected in (
            ("n", self.n >= 1, "at least 1"),
            ("temperature", self.temperature >= 0, "0 or more"),
            ("top_p", 0 < self.top_p <= 1, "more than 0 and at most 1"),
            ("max_tokens", self.max_tokens >= 1, "at least 1"),
            ("stop", all(self.stop), "texts that are not empty"),
        ):
            if not good:
                raise ValueError(f"{name}: got {getattr(self, name)}; expected {expected}")

    def seed_of(self, record_id: str, index: int) -> int:
        """A rollout's own seed, for engines that take one a request: 31 bits, which every server accepts."""
        name = f"{self.seed}/{record_id}/{index}".encode("utf-8", "surrogatepass")
        return int.from_bytes(hashlib.blake2b(name, digest_size=4).digest(), "big") >> 1


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
        finish_reason: ``stop`` where the model (or a stop text) ended it, ``length`` where the limit did.
        token_ids: what it drew, the ending token included; empty where the engine does not say.
        logprobs: log-probability of each under the model at the sampling temperature, before top-p; likewise.
        counted: tokens by a server's own count, where it gives no token ids; None where it does not count.
    """

    index: int
    text: str
    finish_reason: str
    token_ids: list[int] = field(repr=False)
    logprobs: list[float] = field(repr=False)
    counted: int | None = 0

    def as_rollout(self) -> dict[str, Any]:
        """The contract's ``rollouts`` entry."""
        return {
            "index": self.index,
            "completion": self.text,
            "finish_reason": self.finish_reason,
            "num_tokens": len(self.token_ids) or self.counted,
        }


@dataclass(frozen=True)
class Failure:
    """A rollout that an engine could not give, kept apart from the completions: it is none."""

    index: int
    reason: str

    def as_entry(self) -> dict[str, Any]:
        """What ``sampling.failed`` lists."""
        return {"index": self.index, "finish_reason": "error", "error": self.reason}


@dataclass(frozen=True)
class Sampled:
    """All rollouts of one prompt.

    Attributes:
        record_id: of the prompt.
        prompt_ids: its tokens.
        completions: in the order of their indices.
        prompt_too_long: the prompt leaves no room in the model's context; the completions are empty.
        failed: rollouts that could not be had; with the completions they make ``n``.
    """

    record_id: str
    prompt_ids: list[int] = field(repr=False)
    completions: list[Completion]
    prompt_too_long: bool = False
    failed: list[Failure] = field(default_factory=list)


class Engine(Protocol):
    """A backend at work: prompts go in while it wants more, results come out as they finish.

    :func:`klear_data.generate.drive.drive` is the loop around it.
    """

    note: str | None
    """What the user should know about how prompts are rendered."""

    params: SamplingParams
    """How it samples; may be changed while nothing is under way."""

    def wants_more(self) -> bool:
        """True while another prompt would keep it busier than it is."""

    def submit(self, number: int, prompt: Prompt) -> None:
        """Take a prompt; ``number`` names it in :meth:`step`."""

    def step(self) -> list[tuple[int, Sampled]]:
        """Work on what was submitted, at least a little, and hand out what is finished by now."""

    def close(self) -> None:
        """Stop at once; what is not finished is lost."""
