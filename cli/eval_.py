"""``klear eval``: sample a benchmark, judge it as training does, and say how good the model is and how sure that is."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any

import typer

from cli.engines import Backend, Settings
from cli.evaluating import Judging, Run, evaluate, replay
from cli.options import Jobs, examples, split_commas
from cli.sample import sample
from cli.summary import Shown
from klear_data.errors import UsageError
from klear_data.generate.types import SamplingParams
from klear_data.reward.think import ThinkMode
from klear_data.sources.benchmarks import VARIABLE

EXAMPLES = examples(
    "klear eval --model Qwen/Qwen3-8B --benchmark aime24,aime25,lcb-v6 --backend vllm --resume -o runs/qwen3-8b",
    "klear eval --from runs/qwen3-8b --k 1,8,64 --markdown table.md",
)
ENGINE_OPTIONS = (
    "base_url", "system", "stop", "batch_size", "dtype", "device", "tensor_parallel", "data_parallel", "max_model_len",
    "concurrency", "timeout", "retries", "patience",
)  # fmt: skip


def engine_options(command: Callable[..., None]) -> Callable[..., None]:
    """Replace a command's parameter ``engine`` by those options of ``klear sample`` that are about a backend."""
    own = inspect.signature(command, eval_str=True).parameters
    theirs = inspect.signature(sample).parameters

    @wraps(command)
    def run(**values: Any) -> None:
        engine = {name: values.pop(name) for name in ENGINE_OPTIONS}
        command(engine=engine, **values)

    parameters = [parameter for name, parameter in own.items() if name != "engine"]
    parameters += [theirs[name] for name in ENGINE_OPTIONS]
    parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    del run.__wrapped__  # typer would look behind the new signature
    return run


@engine_options
def eval_(
    engine: dict[str, Any],
    model: Annotated[
        str | None, typer.Option(metavar="ID_OR_DIR", help="Model folder, Hub id, or a server's name for it.")
    ] = None,
    benchmark: Annotated[
        list[str] | None, typer.Option(metavar="NAME|FILE", help="What to ask; comma-separated or repeated.")
    ] = None,
    from_: Annotated[
        str | None, typer.Option("--from", metavar="DIR|FILE", help="Sampled records: judge and summarise only.")
    ] = None,
    output: Annotated[
        str | None, typer.Option("-o", "--output", metavar="DIR|FILE", help="Where the records go, with rollouts.")
    ] = None,
    n: Annotated[int | None, typer.Option(min=1, help="Samples a problem.", show_default="the benchmark's")] = None,
    k: Annotated[
        list[str] | None, typer.Option(metavar="K", help="pass@K to show.", show_default="4, 16, … and n")
    ] = None,
    backend: Annotated[Backend, typer.Option(help="What runs the model.")] = "transformers",
    budget: Annotated[
        str | None, typer.Option(metavar="TOKENS", help="32k, 64k, …; beyond the model's positions by YaRN 2.5.")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Longest completion.", show_default="the budget, else 32768")
    ] = None,
    temperature: Annotated[float | None, typer.Option(min=0.0, help="As `sample`.", show_default="0.6")] = None,
    top_p: Annotated[float | None, typer.Option(min=0.0, max=1.0, help="As `sample`.", show_default="0.95")] = None,
    seed: Annotated[int, typer.Option(help="With a record's id it decides every draw.")] = 0,
    template: Annotated[
        str | None, typer.Option(metavar="NAME", help="How problems are asked.", show_default="the benchmark's")
    ] = None,
    benchmarks_dir: Annotated[
        str | None, typer.Option(metavar="DIR", envvar=VARIABLE, help="Files of the benchmarks, before the Hub.")
    ] = None,
    think: Annotated[ThinkMode, typer.Option(help="Which think tags a response must have.")] = "full",
    time_limit: Annotated[float, typer.Option(min=0.1, metavar="SECONDS", help="code: CPU time for one test.")] = 6.0,
    memory_mib: Annotated[int, typer.Option(min=64, help="code: memory for one test.")] = 1024,
    allow_weak: Annotated[
        bool, typer.Option("--allow-weak", help="code: run even where this machine can't isolate programs.")
    ] = False,
    jobs: Jobs = 0,
    rejudge: Annotated[bool, typer.Option("--rejudge", help="Judge again what has verdicts already.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with what an earlier run left in -o.")] = False,
    limit: Annotated[
        int | None, typer.Option(min=1, help="The first so many problems of each.", show_default="all")
    ] = None,
    report: Annotated[str | None, typer.Option(metavar="PATH", help="Write the summary here as JSON.")] = None,
    markdown: Annotated[str | None, typer.Option(metavar="PATH", help="Write the table here.")] = None,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress and no stages; the summary stays.")] = False,
) -> None:
    """Evaluate a model: sample, judge with the stages that reward training, and summarise with errors.

    Sampling is the paper's unless options say otherwise: temperature 0.6, top-p 0.95, 32,768 tokens.
    """
    if benchmarks_dir is not None:
        os.environ[VARIABLE] = benchmarks_dir
    judging = Judging(think, time_limit, memory_mib, allow_weak, jobs, rejudge)
    shown = Shown(_whole_numbers(k), report, markdown, quiet)
    if from_ is not None:
        if model is not None or benchmark or limit is not None:
            raise UsageError(
                "--from: judges what is sampled already; expected no --model, --benchmark or --limit beside it; drop it"
            )
        replay(from_, output, judging, shown)
        return
    if model is None or not benchmark or output is None:
        raise UsageError(
            "klear eval: expected --model, --benchmark and -o DIR (or --from DIR for what is sampled already); add "
            + ", ".join(
                name for name, value in (("--model", model), ("--benchmark", benchmark), ("-o", output)) if not value
            )
        )
    settings = _settings(
        engine, model, backend, budget=budget, max_tokens=max_tokens, temperature=temperature, top_p=top_p, seed=seed
    )
    run = Run(settings, tuple(split_commas(benchmark)), output, n, template, engine["system"], resume, limit)
    evaluate(run, judging, shown)


def _settings(
    engine: dict[str, Any], model: str, backend: Backend, *, budget: str | None, max_tokens: int | None,
    temperature: float | None, top_p: float | None, seed: int,
) -> Settings:  # fmt: skip
    """What the engine is opened with; the number of samples is each benchmark's own."""
    from klear_data.evaluation.context import stretched, tokens_of
    from klear_data.evaluation.problems import protocol

    usual = protocol()
    tokens = usual.max_tokens if budget is None else tokens_of(budget)
    overrides = None
    if budget is not None and backend == "openai":
        raise UsageError(
            f"--budget {budget}: the server decides what its context is; expected a local backend; start it with a "
            f"longer one (docs/evaluation.md has the command for vLLM) and pass --max-tokens {tokens}"
        )
    if budget is not None:
        overrides = stretched(model, tokens)
    try:
        params = SamplingParams(
            1,
            usual.temperature if temperature is None else temperature,
            usual.top_p if top_p is None else top_p,
            tokens if max_tokens is None else max_tokens,
            seed,
            tuple(engine["stop"] or ()),
        )
    except ValueError as error:
        raise UsageError(f"klear eval: {error}; change the option") from None
    return Settings(
        model, backend, params, base_url=engine["base_url"], batch_size=engine["batch_size"], dtype=engine["dtype"],
        device=engine["device"], tensor_parallel=engine["tensor_parallel"], data_parallel=engine["data_parallel"],
        max_model_len=engine["max_model_len"], concurrency=engine["concurrency"], timeout_s=engine["timeout"],
        retries=engine["retries"], patience_s=engine["patience"], overrides=overrides,
    )  # fmt: skip


def _whole_numbers(values: list[str] | None) -> list[int] | None:
    texts = split_commas(values or [])
    for text in texts:
        if not text.isdecimal() or int(text) == 0:
            raise UsageError(f"--k {text}: no count; expected whole numbers from 1 as in --k 1,8,64; change it")
    return [int(text) for text in texts] or None
