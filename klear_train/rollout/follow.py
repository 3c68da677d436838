"""The sampler beside the policy: made once, given the weights after every step, and checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from klear_data.generate.transformers_backend import encode_prompt, load_model_and_tokenizer
from klear_train.distributed import World
from klear_train.model import Policy, target_logprobs
from klear_train.packing import Example, collate
from klear_train.rollout.engines import RolloutEngine, TransformersRollouts
from klear_train.rollout.probe import check_in_step, probe_sequences
from klear_train.settings import RLConfig
from klear_train.weights import whole_weights


class Follower:
    """An engine and what keeps it in step with the policy.

    Attributes:
        engine: samples.
        shares: it samples the policy itself, so there is nothing to keep in step.
    """

    def __init__(
        self, config: RLConfig, policy: Policy, tokenizer: Any, records: Sequence[dict[str, Any]], world: World
    ) -> None:
        self._config, self._policy, self._world = config, policy, world
        self.shares = config.rollout.engine == "transformers" and world.size == 1 and config.model.dtype == "float32"
        self.engine = make_engine(config, policy, tokenizer, world, shares=self.shares)
        self._dtype = getattr(torch, config.model.dtype)
        self._probe = probe_sequences([encode_prompt(tokenizer, record["prompt"]) for record in records[:64]])

    def catch_up(self, step: int) -> float | None:
        """Push the policy's weights and compare; the probe's gap in nats a token, None where nothing is pushed.

        Raises:
            SamplerOutOfStep: sampler and trainer disagree afterwards.
        """
        if self.shares:
            return None
        self.engine.push(whole_weights(self._policy, dtype=self._dtype))
        return check_in_step(
            self.engine.logprobs(self._probe), self._trainer(), limit=self._config.rollout.probe_limit, step=step
        )

    def _trainer(self) -> list[Tensor]:
        examples = [Example(ids, [False] + [True] * (len(ids) - 1)) for ids in self._probe]
        self._policy.eval()
        with torch.no_grad():
            logprobs_N, _ = self._policy(target_logprobs, collate(examples).to(self._world.device))
        self._policy.train()
        return list(logprobs_N.cpu().split([len(ids) - 1 for ids in self._probe]))


def make_engine(config: RLConfig, policy: Policy, tokenizer: Any, world: World, *, shares: bool) -> RolloutEngine:
    """The configured engine; one of its own for every rank.

    Raises:
        CapabilityError: vllm is asked for and not installed, or can't run here.
    """
    if config.rollout.engine == "vllm":
        from klear_train.rollout.vllm_engine import VLLMRollouts

        options = {"dtype": config.model.dtype, **config.rollout.vllm}
        return VLLMRollouts(config.model.path, options, several_ranks=world.size > 1)
    batch_size = config.rollout.batch_size
    if shares:
        return TransformersRollouts(policy.model, tokenizer, batch_size=batch_size, follows=False)
    model, _ = load_model_and_tokenizer(config.model.path, dtype=config.model.dtype, device=str(world.device))
    return TransformersRollouts(model, tokenizer, batch_size=batch_size, follows=True)
