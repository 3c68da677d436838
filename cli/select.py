"""``klear select``: a fixed number of records, spread out or drawn."""

from __future__ import annotations

import sys
import tempfile
from array import array
from collections.abc import Iterator
from typing import IO, Annotated, Any

import typer

from cli.io import StageRun
from cli.options import StageFiles, examples, split_commas, stage_options, stdin_once
from klear_data.errors import RecordError, UsageError
from klear_data.jsonl import BadLine, Source, parse_object
from klear_data.records import Record, problem_of
from klear_data.select import Choice, Method, Quota, Rows, SelectOptions, choose
from klear_data.select.embed import Embedder, open_embedder, read_vectors
from klear_data.stage import Drop, Lines, Outcome
from klear_data.text import normalise, prompt_text

EXAMPLES = examples(
    "klear select curated.jsonl --k 31600 --stratify ability,data_source --rejects rest.jsonl -o chosen.jsonl",
    "klear select curated.jsonl --k 1000 --method random --seed 7 > chosen.jsonl",
)
_BATCH_TEXTS = 1024


@stage_options()
def select(
    files: StageFiles,
    k: Annotated[int, typer.Option(min=0, help="How many records to choose.")],
    method: Annotated[
        Method, typer.Option(help="Farthest-first over the prompts' vectors, or a seeded draw.")
    ] = "k-center",
    stratify: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY[,KEY]", help="Give each value of these keys its share, such as ability,data_source."),
    ] = None,
    quota: Annotated[Quota, typer.Option(help="Shares by size, or the same for each.")] = "proportional",
    embeddings: Annotated[
        str,
        typer.Option(
            metavar="hashed|sentence-transformers:NAME|FILE.npy", help="Where vectors come from; hashed needs no model."
        ),
    ] = "hashed",
    warm_start: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Records chosen before, to keep away from; .npy if the embeddings are."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the draw, and of the record that k-center begins with.")] = 0,
) -> None:
    """Choose k records and drop the others as `not_selected`; what is chosen keeps its order and its bytes."""
    stdin_once(files.input, warm_start)
    if method == "random" and (warm_start is not None or embeddings != "hashed"):
        raise UsageError(
            "--method random: takes no --warm-start and no --embeddings, as it looks at no vector; expected "
            "--method k-center with them; leave them out or change the method"
        )
    if stratify and not split_commas(stratify):
        raise UsageError("--stratify: empty; expected keys of the records; name one, or leave the option out")
    options = SelectOptions(k, method, tuple(split_commas(stratify or [])), quota, seed)
    embedder = open_embedder(embeddings) if method == "k-center" else None
    warm_vectors = None
    if warm_start is not None and warm_start.lower().endswith(".npy") != embeddings.lower().endswith(".npy"):
        raise UsageError(
            f"--warm-start {warm_start}: can't be measured against --embeddings {embeddings}; expected vectors (.npy) "
            f"for vectors and records for an encoder; give both in one form"
        )
    if warm_start is not None and warm_start.lower().endswith(".npy"):
        warm_vectors = read_vectors(warm_start)
    run = StageRun("select", files)

    def outcomes() -> Iterator[Outcome]:
        with tempfile.TemporaryFile() as spool:
            rows, places = Rows(options), _Places()
            for texts in _read(run, rows, places, spool):
                if embedder is not None:
                    embedder.add(texts)
            count = len(rows.strata)
            for key in options.stratify:
                if count and key not in rows.keys_found:
                    raise UsageError(
                        f"--stratify {key}: no record has it; expected a key of the records, such as ability or "
                        f"extra_info.level; check its spelling"
                    )
            if k > count:
                sys.stderr.write(f"klear select: --k {k:,}, but there are {count:,} records; all are kept\n")
            warm_texts = 0
            if embedder is not None and warm_start is not None and warm_vectors is None:
                warm_texts = _add_records_of(warm_start, embedder)

            def vectors() -> tuple[Any, Any]:
                assert embedder is not None
                every = embedder.vectors()
                warm = every[count:] if warm_texts else warm_vectors
                _same_dimensions(every, warm, warm_start)
                return every[:count], warm

            choice = choose(rows, vectors=vectors)
            run.ledger.notes.update(
                _notes(options, choice, embedder, warm_texts if warm_vectors is None else len(warm_vectors))
            )
            yield from _outcomes(choice, places, spool)

    run.run(outcomes)


class _Places:
    """Where each record stood."""

    def __init__(self) -> None:
        self.name = ""
        self.numbers = array("q")

    def where(self, row: int) -> str:
        return "the warm start" if row < 0 else f"{self.name}:{self.numbers[row]}"


def _read(run: StageRun, rows: Rows, places: _Places, spool: IO[bytes]) -> Iterator[list[str]]:
    """Put the lines of the input away; the normalised prompts of them, some at a time."""
    for batch in run.counted(run.file_batches(run.files.input)):
        places.name = batch.name
        texts = []
        for number, raw, line in zip(batch.numbers, batch.lines, batch.texts(), strict=True):
            record = _record_of(line, f"{batch.name}:{number}", raw, run)
            if record is None:
                continue
            try:
                spool.write(line + b"\n")
            except OSError as error:
                raise UsageError(
                    f"{tempfile.gettempdir()}: can't be written ({error.strerror}); expected room for a copy of the "
                    f"input while it is read; set TMPDIR to a folder on a larger disk"
                ) from None
            rows.add(record)
            places.numbers.append(number)
            texts.append(normalise(prompt_text(record["prompt"])))
        if texts:
            yield texts
    spool.flush()


def _record_of(line: bytes, where: str, raw: bytes, run: StageRun) -> Record | None:
    """The record of a line, None for one that is set aside."""
    try:
        record = parse_object(line)
        problem = problem_of(record)
    except ValueError as error:
        problem = str(error)
    if problem is None:
        return record
    run.bad_line(BadLine(where, problem, raw))
    return None


def _add_records_of(path: str, embedder: Embedder) -> int:
    """Embed the prompts of a file of records; how many there are.

    Raises:
        RecordError: a line that is no record, or no record at all.
    """
    count, texts = 0, list[str]()
    source = Source(path)
    try:
        for item in source:
            problem = item.problem if isinstance(item, BadLine) else problem_of(item[1])
            if isinstance(item, BadLine) or problem is not None:
                where = item.where if isinstance(item, BadLine) else item[0]
                raise RecordError(f"{where}: {problem}; mend the file of the warm start")
            texts.append(normalise(prompt_text(item[1]["prompt"])))
            if len(texts) == _BATCH_TEXTS:
                embedder.add(texts)
                count, texts = count + len(texts), []
    finally:
        source.close()
    if texts:
        embedder.add(texts)
    if count + len(texts) == 0:
        raise RecordError(f"{path}: no records in it; expected those chosen before; leave out --warm-start")
    return count + len(texts)


def _same_dimensions(vectors: Any, warm: Any, path: str | None) -> None:
    if warm is not None and len(vectors) and warm.shape[1] != vectors.shape[1]:
        raise UsageError(
            f"--warm-start {path}: vectors of {warm.shape[1]} dimensions; expected {vectors.shape[1]} like the "
            f"embeddings; use one encoder for both"
        )


def _notes(options: SelectOptions, choice: Choice, embedder: Embedder | None, warm: int) -> dict[str, Any]:
    notes: dict[str, Any] = {"method": options.method, "k": options.k, "seed": options.seed}
    if embedder is not None:
        notes["embeddings"] = embedder.name
        notes["radius"] = None if choice.radius is None else round(choice.radius, 6)
    if warm:
        notes["warm_start"] = warm
    if options.stratify:
        notes["stratify"], notes["quota"], notes["strata"] = ",".join(options.stratify), options.quota, choice.strata
    return notes


def _outcomes(choice: Choice, places: _Places, spool: IO[bytes]) -> Iterator[Outcome]:
    """Second pass, in the order of the input."""
    spool.seek(0)
    for row, line in enumerate(spool):
        if choice.chosen[row]:
            yield Lines(line, 1)
            continue
        evidence: dict[str, Any] = {"where": places.where(row)}
        if choice.distances is not None and choice.distances[row] < float("inf"):
            evidence["distance"] = round(float(choice.distances[row]), 6)
            evidence["nearest"] = places.where(int(choice.nearest[row]))
        yield Drop({}, "not_selected", evidence, line[:-1])
