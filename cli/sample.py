"""``klear sample``: completions of a model for every problem."""

from __future__ import annotations

import sys
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal

import typer

from cli.io import run_stage
from cli.options import StageFiles, examples, stage_options
from klear_data.errors import UsageError
from klear_data.records import Record

EXAMPLES = examples(
    "klear sample problems.jsonl --model Qwen/Qwen3-0.6B --n 16 --max-tokens 4096 --resume -o rollouts.jsonl",
    "klear sample problems.jsonl --model runs/sft/final --n 4 --seed 7 | klear reward-math > judged.jsonl",
)


@stage_options()
def sample(
    files: StageFiles,
    model: Annotated[str, typer.Option(metavar="ID_OR_DIR", help="Model folder or Hub id.")],
    n: Annotated[int, typer.Option(min=1, help="Completions a problem.")] = 16,
    backend: Annotated[Literal["transformers"], typer.Option(help="What runs the model.")] = "transformers",
    temperature: Annotated[float, typer.Option(min=0.0, help="0 takes the most likely token.")] = 1.0,
    top_p: Annotated[float, typer.Option(min=0.0, max=1.0, help="Nucleus sampling.")] = 0.95,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest completion.")] = 32768,
    seed: Annotated[int, typer.Option(help="With a record's id it decides every draw.")] = 0,
    append: Annotated[bool, typer.Option("--append", help="Add to the rollouts that are there.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Keep finished records and go on after them.")] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Completions written at the same time.")] = 64,
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"], typer.Option(help="Of the weights; auto is as saved.")
    ] = "auto",
    device: Annotated[
        str | None, typer.Option(metavar="NAME", help="cpu, cuda, …", show_default="what is there")
    ] = None,
) -> None:
    """Sample completions of a model for every record.

    The result depends on the seed and the record's id, not on the batch size or the order of the records.
    """
    from klear_data.generate import transformers_backend as engine
    from klear_data.generate.types import Prompt, SamplingParams

    try:
        params = SamplingParams(n=n, temperature=temperature, top_p=top_p, max_tokens=max_tokens, seed=seed)
    except ValueError as error:
        raise UsageError(f"klear sample: {error}; change the option") from None
    language_model, tokenizer = engine.load_model_and_tokenizer(model, dtype=dtype, device=device)
    note = engine.template_note(tokenizer)
    if note is not None:
        sys.stderr.write(f"klear sample: {note}\n")
    settings: dict[str, Any] = {
        "model": model,
        "backend": backend,
        "n": n,
        "temperature": temperature,
        "top_p": top_p,
        "max_tokens": max_tokens,
        "seed": seed,
    }
    counts: Counter[str] = Counter()

    def sampled(records: Iterable[Record]) -> Iterator[Record]:
        waiting: deque[Record] = deque()

        def prompts() -> Iterator[Prompt]:
            for record in records:
                waiting.append(record)
                yield Prompt(record["id"], record["prompt"], len(record.get("rollouts") or []) if append else 0)

        for result in engine.generate(language_model, tokenizer, prompts(), params, batch_size=batch_size):
            record = waiting.popleft()
            rollouts = [completion.as_rollout() for completion in result.completions]
            counts["tokens"] += sum(rollout["num_tokens"] for rollout in rollouts)
            counts["truncated"] += sum(rollout["finish_reason"] == "length" for rollout in rollouts)
            counts["prompts_too_long"] += result.prompt_too_long
            yield _with_rollouts(record, rollouts, settings, append=append, too_long=result.prompt_too_long)

    def of_this_run(record: Record) -> str | None:
        wanted = {key: value for key, value in settings.items() if not (append and key == "n")}
        found = {key: record.get("sampling", {}).get(key) for key in wanted}
        return None if found == wanted else f"its records were sampled with {found}"

    run_stage("sample", files, sampled, ledger_notes=lambda: dict(counts), resume=of_this_run if resume else None)


def _with_rollouts(
    record: Record, rollouts: list[dict[str, Any]], settings: dict[str, Any], *, append: bool, too_long: bool
) -> Record:
    sampling = dict(settings)
    if too_long:
        sampling["prompt_too_long"] = True
    earlier = record.get("rollouts") if append else None
    if earlier:
        sampling["n"] = len(earlier) + len(rollouts)
        sampling["appended_to"] = record.get("sampling")
        rollouts = [*earlier, *rollouts]
    return {**record, "sampling": sampling, "rollouts": rollouts}
