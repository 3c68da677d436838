"""``klear sample``: completions of a model for every problem."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import count, islice
from typing import Annotated, Any, Literal

import typer

from cli.engines import Backend, EngineWhenNeeded, Settings, shower
from cli.io import StageRun, run_stage
from cli.options import StageFiles, examples, say, stage_options
from klear_data.errors import CapabilityError, UsageError
from klear_data.generate.drive import drive
from klear_data.generate.kept import KeptSink
from klear_data.generate.types import Prompt, Sampled, SamplingParams
from klear_data.records import Record
from klear_data.sink import open_sink
from klear_data.stage import Lines, Outcome

EXAMPLES = examples(
    "klear sample problems.jsonl --model Qwen/Qwen3-0.6B --n 16 --max-tokens 4096 --resume -o rollouts.jsonl",
    "klear sample problems.jsonl --model Qwen/Qwen3-8B --backend openai --base-url http://127.0.0.1:8000/v1 --n 4",
)

ORDER_WINDOW = 4096
"""Prompts read beyond the oldest unfinished one, where results come out in the order of the input."""

DRY_RUN_RECORDS = 2


@stage_options()
def sample(
    files: StageFiles,
    model: Annotated[str, typer.Option(metavar="ID_OR_DIR", help="Model folder, Hub id, or a server's name for it.")],
    n: Annotated[int, typer.Option(min=1, help="Completions a problem.")] = 16,
    backend: Annotated[Backend, typer.Option(help="What runs the model.")] = "transformers",
    base_url: Annotated[
        str | None, typer.Option(metavar="URL", help="openai: the server, with its /v1; its key is $OPENAI_API_KEY.")
    ] = None,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 takes the most likely token.")] = 1.0,
    top_p: Annotated[float, typer.Option(min=0.0, max=1.0, help="Nucleus sampling.")] = 0.95,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest completion.")] = 32768,
    seed: Annotated[int, typer.Option(help="With a record's id it decides every draw.")] = 0,
    system: Annotated[str | None, typer.Option(metavar="TEXT", help="A system prompt before the others.")] = None,
    stop: Annotated[list[str] | None, typer.Option(metavar="TEXT", help="Ends a completion; may be repeated.")] = None,
    append: Annotated[bool, typer.Option("--append", help="Add to the rollouts that are there.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Keep finished records and do only the rest.")] = False,
    unordered: Annotated[
        bool, typer.Option("--unordered", help="Write records as they finish, not in the order of the input.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show prompts and settings, sample nothing.")] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="transformers: completions written at the same time.")] = 64,
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"], typer.Option(help="Of the weights; auto is as saved.")
    ] = "auto",
    device: Annotated[
        str | None, typer.Option(metavar="NAME", help="transformers: cpu, cuda, …", show_default="what is there")
    ] = None,
    tensor_parallel: Annotated[int, typer.Option(min=1, help="vllm: devices that share each layer.")] = 1,
    data_parallel: Annotated[int, typer.Option(min=1, help="vllm: copies of the model, each in a process.")] = 1,
    max_model_len: Annotated[
        int | None, typer.Option(min=1, help="vllm: context in tokens.", show_default="the model's")
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="openai: requests at the same time.")] = 64,
    timeout: Annotated[float, typer.Option(min=0.001, help="openai: seconds for one request.")] = 1800.0,
    retries: Annotated[int, typer.Option(min=0, help="openai: attempts after a failed one.")] = 5,
    patience: Annotated[float, typer.Option(min=0.0, help="openai: seconds a server may be busy or gone.")] = 300.0,
) -> None:
    """Sample completions of a model for every record.

    The result depends on the seed and the record's id, not on the batch size or the order of the records
    (docs/sampling.md says how far this holds for each backend).
    """
    try:
        params = SamplingParams(n, temperature, top_p, max_tokens, seed, tuple(stop or ()))
    except ValueError as error:
        raise UsageError(f"klear sample: {error}; change the option") from None
    settings = Settings(
        model, backend, params, base_url=base_url, batch_size=batch_size, dtype=dtype, device=device,
        tensor_parallel=tensor_parallel, data_parallel=data_parallel, max_model_len=max_model_len,
        concurrency=concurrency, timeout_s=timeout, retries=retries, patience_s=patience,
    )  # fmt: skip
    stage = Sampling(settings, system=system, append=append, window=None if unordered or resume else ORDER_WINDOW)
    if dry_run:
        stage.show(files)
        return
    kept = KeptSink(files.output, stage.wanted(), ordered=not unordered) if resume else None
    with closing(EngineWhenNeeded(settings)) as engine:
        stage.run(files, engine, kept)
    stage.raise_for_failures(files, kept)


class Sampling:
    """One run: records in, records with rollouts out, and the counts on the way."""

    def __init__(
        self, settings: Settings, *, system: str | None = None, append: bool = False, window: int | None = None
    ) -> None:
        params = settings.params
        self._settings, self._system, self._append, self._window = settings, system, append, window
        self._written: dict[str, Any] = {
            "model": settings.model,
            "backend": settings.backend,
            "n": params.n,
            "temperature": params.temperature,
            "top_p": params.top_p,
            "max_tokens": params.max_tokens,
            "seed": params.seed,
        }
        if params.stop:
            self._written["stop"] = list(params.stop)
        if system is not None:
            self._written["system"] = system
        if settings.overrides:
            self._written["config"] = dict(settings.overrides)
        self.counts: Counter[str] = Counter()

    def wanted(self) -> dict[str, Any]:
        """What the records of an earlier run must say for this one to go on with them."""
        wanted = {"stop": None, "system": None, "config": None, **self._written}
        return {key: value for key, value in wanted.items() if not (self._append and key == "n")}

    def run(self, files: StageFiles, engine: EngineWhenNeeded, kept: KeptSink | None) -> None:
        """Sample every record; what fails is counted and marked in its record."""
        run_stage(
            "sample", files, lambda records: self._outcomes(engine, records, kept),
            ledger_notes=lambda: dict(self.counts), keeps=kept is not None,
            open_output=open_sink if kept is None else lambda _: kept,
        )  # fmt: skip

    def raise_for_failures(self, files: StageFiles, kept: KeptSink | None) -> None:
        """Raise CapabilityError if rollouts failed in this run."""
        if self.counts["failed_rollouts"]:
            again = "run again with --resume to try those once more" if kept else "see `sampling.failed` of the records"
            raise CapabilityError(
                f"{files.output}: {self.counts['failed_rollouts']} rollouts of {self.counts['failed_records']} records "
                f"failed, all else is written; expected a server that answers each request; {again}"
            )

    def show(self, files: StageFiles) -> None:
        """The settings and the first prompts as they would be sent."""
        note, shown = shower(self._settings)
        for key, value in self._written.items():
            say(f"{key}: {value}")
        if note:
            say(f"note: {note}")
        for record in islice(StageRun("sample", files).records(), DRY_RUN_RECORDS):
            say(f"\nrecord {record['id']}, {self._settings.params.n} completions of:")
            say(shown(self._prompt(record).messages))

    def _prompt(self, record: Record) -> Prompt:
        messages = record["prompt"]
        if self._system is not None:
            messages = [{"role": "system", "content": self._system}, *messages]
        earlier = (record.get("rollouts") or []) if self._append else []
        first = max((one.get("index", at) + 1 for at, one in enumerate(earlier)), default=0)
        return Prompt(record["id"], messages, first)

    def _outcomes(
        self, engine: EngineWhenNeeded, records: Iterable[Record], kept: KeptSink | None
    ) -> Iterator[Outcome]:
        waiting: dict[int, Record] = {}
        done_before: deque[Lines] = deque()
        numbers = count()

        def prompts() -> Iterator[Prompt]:
            for record in records:
                if kept is not None and kept.takes(record):
                    self.counts["kept_from_before"] += 1
                    done_before.append(Lines(b"", 1))
                    continue
                waiting[next(numbers)] = record
                yield self._prompt(record)

        for number, result in drive(engine, prompts(), window=self._window):
            yield from _emptied(done_before)
            record = waiting.pop(number)
            yield self._with_rollouts(record, result)
        yield from _emptied(done_before)

    def _with_rollouts(self, record: Record, result: Sampled) -> Record:
        rollouts = [completion.as_rollout() for completion in result.completions]
        self.counts["tokens"] += sum(rollout["num_tokens"] or 0 for rollout in rollouts)
        self.counts["truncated"] += sum(rollout["finish_reason"] == "length" for rollout in rollouts)
        self.counts["prompts_too_long"] += result.prompt_too_long
        if result.failed:
            self.counts["failed_rollouts"] += len(result.failed)
            self.counts["failed_records"] += 1
        sampling = dict(self._written)
        if result.prompt_too_long:
            sampling["prompt_too_long"] = True
        if result.failed:
            sampling["failed"] = [failure.as_entry() for failure in result.failed]
        earlier = record.get("rollouts") if self._append else None
        if earlier:
            sampling["n"] = len(earlier) + self._settings.params.n
            sampling["appended_to"] = record.get("sampling")
            rollouts = [*earlier, *rollouts]
        return {**record, "sampling": sampling, "rollouts": rollouts}


def _emptied(queue: deque[Lines]) -> Iterator[Lines]:
    while queue:
        yield queue.popleft()
