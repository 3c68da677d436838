"""From the options of ``klear sample`` to a running backend; each is imported when it is asked for."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, replace
from functools import partial
from typing import Any, Literal

from klear_data.errors import UsageError
from klear_data.generate.types import Engine, Prompt, Sampled, SamplingParams

Backend = Literal["transformers", "vllm", "openai"]

CORES = "VLLM_CPU_OMP_THREADS_BIND"
"""vLLM's variable: the cores of each worker on a CPU, workers separated by ``|``."""


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
        if self.backend != "vllm" and (self.data_parallel > 1 or self.tensor_parallel > 1):
            option = "--data-parallel" if self.data_parallel > 1 else "--tensor-parallel"
            raise UsageError(
                f"--backend {self.backend}: {option} is given; expected it with --backend vllm alone; drop it, or give "
                "it to the server"
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
    if settings.data_parallel > 1:
        from klear_data.generate.replicas import Replicas

        one = partial(open_engine, replace(settings, data_parallel=1))
        return Replicas(one, settings.params, _shares(settings))
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


def _shares(settings: Settings) -> list[dict[str, str]]:
    """What each copy of a model has for itself: its share of the devices, on a CPU of the groups of cores if named."""
    each, needed = settings.tensor_parallel, settings.data_parallel * settings.tensor_parallel
    devices = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(needed)))
    dealt = {"CUDA_VISIBLE_DEVICES": (devices.split(","), ",")}
    if "|" in (cores := os.environ.get(CORES, "")):
        dealt[CORES] = (cores.split("|"), "|")
    for variable, (names, _) in dealt.items():
        if len(names) < needed:
            raise UsageError(
                f"{variable}: names {len(names)}; expected {needed} for --data-parallel {settings.data_parallel} and "
                f"--tensor-parallel {each}; name more, or run fewer"
            )
    return [
        {variable: separator.join(names[at : at + each]) for variable, (names, separator) in dealt.items()}
        for at in range(0, needed, each)
    ]


def shower(settings: Settings) -> tuple[str | None, Callable[[list[dict[str, Any]]], str]]:
    """How prompts are rendered, and a note about it, without weights and without asking a server."""
    if settings.backend == "openai":
        from klear_data.generate.openai_backend import shown

        return "the server puts the messages into its model's chat template", shown
    from klear_data.generate.transformers_backend import checked_text, load_tokenizer, template_note

    tokenizer = load_tokenizer(settings.model)
    return template_note(tokenizer), lambda messages: checked_text(tokenizer, messages)


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
