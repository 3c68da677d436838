"""Who writes the rollouts: one protocol, and the engine that samples the policy with transformers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from klear_data.generate.transformers_backend import generate
from klear_data.generate.types import Prompt, Sampled, SamplingParams

Weights = Iterable[tuple[str, Tensor]]
"""Names and whole tensors of the policy, as a model folder has them; tied weights under each of their names."""


class RolloutEngine(Protocol):
    """A sampler that follows the policy."""

    def sample(
        self, prompts: Sequence[Prompt], params: SamplingParams, on_sampled: Callable[[Sampled], None]
    ) -> Iterator[Sampled]:
        """All rollouts, in the order of the prompts; ``on_sampled`` hears of each prompt as it finishes.

        Every completion carries its tokens and their log-probabilities.
        """

    def push(self, weights: Weights) -> None:
        """Go on with these weights."""

    def logprobs(self, sequences: Sequence[Sequence[int]]) -> list[Tensor]:
        """log π of every token but the first of each sequence, at temperature 1: what a probe compares."""

    def close(self) -> None:
        """Give back what it holds."""


class TransformersRollouts:
    """Samples a model of this process with klear's own decode loop.

    Args:
        model: the policy itself (then :meth:`push` has nothing to do), or a copy that follows it.
        tokenizer: its tokenizer.
        batch_size: rollouts written at the same time.
        follows: whether ``model`` is a copy.
    """

    def __init__(self, model: Any, tokenizer: Any, *, batch_size: int, follows: bool) -> None:
        self._model, self._tokenizer, self._batch_size, self._follows = model, tokenizer, batch_size, follows

    def sample(
        self, prompts: Sequence[Prompt], params: SamplingParams, on_sampled: Callable[[Sampled], None]
    ) -> Iterator[Sampled]:
        was_training = self._model.training
        self._model.eval()
        yield from generate(
            self._model, self._tokenizer, prompts, params, batch_size=self._batch_size, on_sampled=on_sampled
        )
        self._model.train(was_training)

    def push(self, weights: Weights) -> None:
        if not self._follows:
            return
        own = dict(self._model.named_parameters(remove_duplicate=False))
        missing = set(own)
        with torch.no_grad():
            for name, tensor in weights:
                own[name].copy_(tensor)
                missing.discard(name)
        if missing:
            raise AssertionError(f"weights that were not pushed: {sorted(missing)}; please report this bug")

    def logprobs(self, sequences: Sequence[Sequence[int]]) -> list[Tensor]:
        found = []
        with torch.inference_mode():
            for ids in sequences:
                ids_1T = torch.tensor([list(ids)], device=self._model.device)
                logits_TV = self._model(input_ids=ids_1T).logits[0, :-1].float()
                found.append(logits_TV.log_softmax(-1).gather(-1, ids_1T[0, 1:, None])[:, 0].cpu())
        return found

    def close(self) -> None:
        pass
