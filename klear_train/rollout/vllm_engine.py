"""Rollouts by vLLM in this process, with the policy's weights pushed into it after every step.

vLLM shards and fuses the weights it is given (q, k and v are one matrix there), so that they arrive can't be seen by
comparing tensors, and a push can go wrong without an error: a tied ``lm_head.weight`` that is left out leaves the old
one in use. That is why :mod:`klear_train.rollout.probe` compares log-probabilities after every push.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from klear_data.generate.drive import drive
from klear_data.generate.types import Prompt, Sampled, SamplingParams
from klear_train.rollout.engines import Weights


class VLLMRollouts:
    """See :class:`klear_train.rollout.engines.RolloutEngine`.

    Args:
        path: the model folder that the policy begins with.
        options: further arguments of vLLM's ``EngineArgs`` (``gpu_memory_utilization``, ``max_model_len``, …).
        several_ranks: under ``torchrun``: every rank has an engine of its own, in its own process.

    Raises:
        CapabilityError: vllm is not installed, or can't run here.
        UsageError: vLLM can't load the model.
    """

    def __init__(self, path: str, options: Mapping[str, Any], *, several_ranks: bool) -> None:
        # The engine has to share this process: weights are handed over as tensors, not by a file.
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        from klear_data.generate.vllm_backend import VLLMEngine

        launcher = {"distributed_executor_backend": "external_launcher"} if several_ranks else {}
        # The ratio is taken to what was drawn from, so the temperature must be in the log-probabilities.
        fixed = {"logprobs_mode": "processed_logprobs"}
        self._engine = VLLMEngine(path, SamplingParams(), {**launcher, **options, **fixed}, with_logprobs=True)
        self._sleeps = bool(options.get("enable_sleep_mode"))
        self._asleep = False
        self._asked = 0

    def sample(
        self, prompts: Sequence[Prompt], params: SamplingParams, on_sampled: Callable[[Sampled], None]
    ) -> Iterator[Sampled]:
        self._wake()
        self._engine.params = params
        results: dict[int, Sampled] = {}
        for number, sampled in drive(self._engine, prompts):
            on_sampled(sampled)
            results[number] = sampled
        if self._sleeps:
            self._engine.llm_engine.sleep()  # the trainer needs the memory now
            self._asleep = True
        yield from (results[number] for number in range(len(results)))

    def push(self, weights: Weights) -> None:
        self._wake()
        engine = self._engine.llm_engine
        engine.collective_rpc("reload_weights", kwargs={"weights_iterator": iter(weights)})
        engine.reset_prefix_cache()  # keys and values of the old weights

    def _wake(self) -> None:
        if self._asleep:
            self._engine.llm_engine.wake_up()
            self._asleep = False

    def logprobs(self, sequences: Sequence[Sequence[int]]) -> list[Tensor]:
        self._wake()
        engine, vllm = self._engine.llm_engine, self._engine.vllm
        asked = vllm.SamplingParams(max_tokens=1, temperature=1.0, prompt_logprobs=0, detokenize=False)
        names = {}
        for at, ids in enumerate(sequences):
            self._asked += 1
            names[f"probe/{self._asked}"] = at
            engine.add_request(f"probe/{self._asked}", vllm.inputs.TokensPrompt(prompt_token_ids=list(ids)), asked)
        found: dict[int, Tensor] = {}
        while engine.has_unfinished_requests():
            for output in engine.step():
                if output.finished:
                    at = names[output.request_id]
                    pairs = zip(sequences[at][1:], output.prompt_logprobs[1:], strict=True)
                    found[at] = torch.tensor([scores[token].logprob for token, scores in pairs])
        return [found[at] for at in range(len(sequences))]

    def close(self) -> None:
        self._engine.close()
