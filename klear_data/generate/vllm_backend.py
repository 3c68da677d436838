"""Sampling with vLLM in this process: one continuous batch over the whole stream of prompts.

Requests go straight to vLLM's engine and are topped up after every step, so no prompt waits for the end of a chunk.
Each rollout is a request of its own with a seed of its own (the prompt is read once: prefix caching); what a rollout
draws does not depend on what else is in the batch. Its *logits* may, in the last bits, as kernels sum in another
order for another batch; where two tokens are that close, a rollout can differ from one run to the next.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from typing import Any

from klear_data.errors import CapabilityError, KlearError, UsageError, require
from klear_data.generate.transformers_backend import before_stop, check_folder, encode_prompt, template_note
from klear_data.generate.types import Completion, Prompt, Sampled, SamplingParams

QUEUED = 2
"""Rollouts waiting inside vLLM for each that it can run at the same time: enough that none of its slots idles."""


class VLLMEngine:
    """See :class:`klear_data.generate.types.Engine`.

    Args:
        path: a folder in Hugging Face format, or a model id of the hub.
        params: how to sample.
        options: further arguments of vLLM's ``EngineArgs`` (``tensor_parallel_size``, ``dtype``, …).
        with_logprobs: keep the log-probability of every token drawn, as RL needs.

    Attributes:
        params: how to sample; may be changed between prompts.
        vllm: the module.
        llm_engine: vLLM's engine, for what klear's protocol does not cover (RL pushes weights into it).

    Raises:
        CapabilityError: vllm is not installed, or can't run here.
        UsageError: there is no model at ``path``, or vLLM can't load it.
    """

    def __init__(
        self, path: str, params: SamplingParams, options: Mapping[str, Any], *, with_logprobs: bool = False
    ) -> None:
        check_folder(path)
        os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")  # stdout is for records
        vllm = require("vllm", extra="vllm", needed_by="--backend vllm")
        self.vllm, self.params, self._with_logprobs = vllm, params, with_logprobs
        try:
            # On a CPU compiling the model takes longer than it ever saves, and a prompt read in chunks makes vLLM set
            # back the generator of its seed, which a CPU's generator can't (vLLM 0.32).
            on_cpu = importlib.import_module("vllm.platforms").current_platform.is_cpu()
            eager = {"enforce_eager": True, "enable_chunked_prefill": False} if on_cpu else {}
            arguments = vllm.EngineArgs(
                model=path, disable_log_stats=True, enable_prefix_caching=True, **{**eager, **options}
            )
            self.llm_engine = vllm.LLMEngine.from_engine_args(arguments)
        except (ValueError, OSError) as error:
            raise _not_loaded(path, error) from error
        except RuntimeError as error:
            raise CapabilityError(
                f"{path}: vLLM can't start ({_first_line(error)}); expected a device with room for the model; see "
                "vLLM's lines above, and docs/sampling.md for the settings on a CPU"
            ) from error
        self._tokenizer = self.llm_engine.get_tokenizer()
        self.note = template_note(self._tokenizer)
        config = self.llm_engine.vllm_config
        self._room: int = config.model_config.max_model_len
        self._most_requests: int = (1 + QUEUED) * config.scheduler_config.max_num_seqs
        self._requests: dict[str, tuple[int, int]] = {}  # vLLM's name of it → (prompt's number, rollout's index)
        self._under_way: dict[int, tuple[Prompt, list[int], list[Completion]]] = {}
        self._done: list[tuple[int, Sampled]] = []

    def wants_more(self) -> bool:
        return len(self._requests) < self._most_requests

    def submit(self, number: int, prompt: Prompt) -> None:
        ids = encode_prompt(self._tokenizer, prompt.messages, of=f"record {prompt.record_id}")
        indices = range(prompt.first_index, prompt.first_index + self.params.n)
        room = self._room - len(ids)
        if room <= 0:
            empty = [Completion(index, "", "length", [], []) for index in indices]
            self._done.append((number, Sampled(prompt.record_id, ids, empty, prompt_too_long=True)))
            return
        if not ids:
            raise UsageError(
                f"record {prompt.record_id}: its prompt has no token; expected at least one to go on from; give the "
                "messages a text, or the tokenizer a chat template"
            )
        self._under_way[number] = (prompt, ids, [])
        for index in indices:
            name = f"{number}/{index}"
            self._requests[name] = (number, index)
            self.llm_engine.add_request(
                name, self.vllm.inputs.TokensPrompt(prompt_token_ids=ids), self._request(prompt.record_id, index, room)
            )

    def _request(self, record_id: str, index: int, room: int) -> Any:
        params = self.params
        return self.vllm.SamplingParams(
            n=1,
            temperature=params.temperature,
            top_p=params.top_p,
            max_tokens=min(params.max_tokens, room),
            seed=params.seed_of(record_id, index),
            stop=list(params.stop) or None,
            detokenize=bool(params.stop),  # else nobody needs vLLM's text
            skip_special_tokens=False,
            logprobs=0 if self._with_logprobs else None,  # 0: of the drawn token only
            output_kind=self.vllm.sampling_params.RequestOutputKind.FINAL_ONLY,
        )

    def step(self) -> list[tuple[int, Sampled]]:
        finished, self._done = self._done, []
        if not self._requests:
            return finished
        for output in self.llm_engine.step():
            if not output.finished:
                continue
            number, index = self._requests.pop(output.request_id)
            prompt, ids, completions = self._under_way[number]
            completions.append(self._completion(index, output.outputs[0]))
            if len(completions) == self.params.n:
                del self._under_way[number]
                completions.sort(key=lambda one: one.index)
                finished.append((number, Sampled(prompt.record_id, ids, completions)))
        return finished

    def _completion(self, index: int, written: Any) -> Completion:
        token_ids = list(written.token_ids)
        ended_by_token = written.finish_reason == "stop" and not isinstance(written.stop_reason, str)
        # Decoded as the other backend does: vLLM's own text lacks a character that the end cut in two.
        text = self._tokenizer.decode(
            token_ids[:-1] if ended_by_token else token_ids,
            skip_special_tokens=False,
            clean_up_tokenization_spaces=False,
        )
        scores = written.logprobs or ()
        logprobs = [at[token].logprob for at, token in zip(scores, token_ids, strict=bool(scores))]
        return Completion(index, before_stop(text, self.params.stop), written.finish_reason, token_ids, logprobs)

    def close(self) -> None:
        self.llm_engine.engine_core.shutdown()


def _not_loaded(path: str, error: Exception) -> KlearError:
    return UsageError(
        f"{path}: vLLM can't load it ({_first_line(error)}); expected a causal language model with its tokenizer that "
        "vLLM supports; check the path and the options"
    )


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
