"""From the options of ``klear sample`` to a running backend; each is imported when it is asked for."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, Literal

from klear_data.errors import UsageError
from klear_data.generate.types import Engine, Prompt, Sampled, SamplingParams

Backend = Literal["transformers", "vllm", "openai"]


@dataclass(frozen=True)
class Settings:
    """What a backend is opened with; see the options of ``klear sample``.

    ``overrides`` change the model's config (a longer context, :mod:`klear_data.evaluation.context`).
    """

    model: str
    backend: Backend
    params: SamplingParams
    _: KW_ONLY
    base_url: str | None = None
    batch_size: int = 64
    dtype: str = "auto"
    device: str | None = None
    tensor_parallel: int = 1
    data_parallel: int = 1
    max_model_len: int | None = None
    concurrency: int = 64
    timeout_s: float = 1800.0
    retries: int = 5
    patience_s: float = 300.0
    overrides: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if (self.backend == "openai") != (self.base_url is not None):
            problem = "no server is named" if self.base_url is None else "--base-url is given"
            raise UsageError(
                f"--backend {self.backend}: {problem}; expected both --backend openai and --base-url URL; change one"
            )
        if self.data_parallel > 1:
            raise UsageError(
                f"--data-parallel {self.data_parallel}: one process of vLLM runs one copy of a model; expected 1 with "
                f"--backend vllm; run `vllm serve MODEL --data-parallel-size {self.data_parallel}` and klear with "
                "--backend openai"
            )


def open_engine(settings: Settings) -> Engine:
    """Open the backend that the settings name.

    Raises:
        KlearError: the backend, its model or its server is not there.
    """
    if settings.backend == "openai":
        from klear_data.generate.openai_backend import OpenAIEngine, Server

        server = Server(
            base_url=settings.base_url or "", concurrency=settings.concurrency, timeout_s=settings.timeout_s,
            retries=settings.retries, patience_s=settings.patience_s,
        )  # fmt: skip
        return OpenAIEngine(settings.model, settings.params, server)
    if settings.backend == "vllm":
        from klear_data.generate.vllm_backend import VLLMEngine

        options: dict[str, Any] = {"dtype": settings.dtype, "tensor_parallel_size": settings.tensor_parallel}
        if settings.overrides:
            options["hf_overrides"] = dict(settings.overrides)
        if settings.max_model_len is not None:
            options["max_model_len"] = settings.max_model_len
        return VLLMEngine(settings.model, settings.params, options)
    from klear_data.generate.transformers_backend import TransformersEngine

    return TransformersEngine(
        settings.model, settings.params, batch_size=settings.batch_size, dtype=settings.dtype, device=settings.device,
        overrides=settings.overrides,
    )  # fmt: skip


def shower(settings: Settings) -> tuple[str | None, Callable[[list[dict[str, Any]]], str]]:
    """How prompts are rendered, and a note about it, without weights and without asking a server."""
    if settings.backend == "openai":
        from klear_data.generate.openai_backend import shown

        return "the server puts the messages into its model's chat template", shown
    from klear_data.generate.transformers_backend import load_tokenizer, prompt_text, template_note

    tokenizer = load_tokenizer(settings.model)
    return template_note(tokenizer), lambda messages: prompt_text(tokenizer, messages)


class EngineWhenNeeded:
    """An engine that its first prompt opens: a run with nothing left to do loads no model."""

    note: str | None = None

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._engine: Engine | None = None

    @property
    def params(self) -> SamplingParams:
        return self._settings.params

    @params.setter
    def params(self, params: SamplingParams) -> None:
        self._settings = replace(self._settings, params=params)
        if self._engine is not None:
            self._engine.params = params

    def wants_more(self) -> bool:
        return self._engine is None or self._engine.wants_more()

    def submit(self, number: int, prompt: Prompt) -> None:
        if self._engine is None:
            self._engine = open_engine(self._settings)
            if self._engine.note:
                sys.stderr.write(f"klear sample: {self._engine.note}\n")
        self._engine.submit(number, prompt)

    def step(self) -> list[tuple[int, Sampled]]:
        return self._engine.step() if self._engine is not None else []

    def close(self) -> None:
        if self._engine is not None:
            self._engine.close()
