"""``klear curate``: few good problems out of raw collections, each drop with its reason."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Annotated, Literal

import typer

from cli.io import StageRun
from cli.options import StageFiles, examples, split_commas, stage_options, stdin_once
from klear_data.errors import UsageError
from klear_data.records import Ability, Record
from klear_data.stage import Outcome

EXAMPLES = examples(
    "klear curate --sources gsm8k.jsonl,math.json --decontaminate math500.jsonl --rejects out.jsonl > curated.jsonl",
    "klear curate --sources top --min-tests 16 --report curate.json > curated.jsonl",
)


@stage_options(without_input=True)
def curate(
    files: StageFiles,
    sources: Annotated[
        list[str],
        typer.Option(
            metavar="top|top:K|NAME|FILE|DIR|GLOB|-",
            help="What to read: catalogued sources (`klear sources`) or files; comma-separated or repeated.",
        ),
    ],
    dedup: Annotated[Literal["exact", "none"], typer.Option(help="Remove problems that are the same.")] = "exact",
    decontaminate: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE|DIR|GLOB", help="Benchmark files; problems that share an n-gram are dropped."),
    ] = None,
    ngram: Annotated[int, typer.Option(min=2, help="Words in a row that make a problem contaminated.")] = 9,
    min_tests: Annotated[int, typer.Option(min=1, help="Drop code problems with fewer tests (the paper: 16).")] = 1,
    ability: Annotated[
        Ability | None, typer.Option(help="Of problems whose source does not tell.", show_default="from the columns")
    ] = None,
    require_gold: Annotated[
        bool, typer.Option("--require-gold/--no-require-gold", help="Drop problems without an answer or tests.")
    ] = True,
    check_gold: Annotated[
        bool, typer.Option("--check-gold/--no-check-gold", help="Drop answers that do not verify against themselves.")
    ] = True,
) -> None:
    """Turn raw problem files of any known schema into records, and drop what should not be trained on.

    Worked solutions and responses in the source are kept as rollouts.
    """
    from klear_data.curate import CurateOptions, Curation
    from klear_data.decontaminate import Benchmarks, read_benchmark
    from klear_data.sources.paths import expand_sources

    stdin_once(*set(split_commas(sources)), *set(split_commas(decontaminate or [])))
    benchmarks = None
    if decontaminate:
        paths = expand_sources(split_commas(decontaminate))
        benchmarks = Benchmarks((item for path in paths for item in read_benchmark(path)), n=ngram)
    run = StageRun("curate", files)
    curation = Curation(
        CurateOptions(
            dedup=dedup,
            benchmarks=benchmarks,
            min_tests=min_tests,
            check_gold=check_gold,
            require_gold=require_gold,
            ability=ability,
        ),
        on_bad=run.bad_line,
    )
    rows = _rows(run, split_commas(sources))

    def outcomes() -> Iterator[Outcome]:
        yield from curation.run(rows)
        run.ledger.notes.update(curation.notes())

    run.run(outcomes)


def _rows(run: StageRun, specs: list[str]) -> Iterator[tuple[str, Record]]:
    """The rows of files and of catalogued sources, in the order named, counted by the run.

    Raises:
        UsageError: a name that is neither; told before anything is read.
    """
    from klear_data.sources.catalog import CataloguedSource, expand_names, source_rows
    from klear_data.sources.paths import expand_sources

    if not specs:
        raise UsageError("--sources: empty; expected files or names; `klear sources` lists the names")
    parts: list[CataloguedSource | str] = []
    for spec in specs:
        catalogued = expand_names(spec)
        if catalogued is None:
            parts += expand_sources([spec])
        else:
            names = ", ".join(source.name for source in catalogued)
            sys.stderr.write(f"klear curate: --sources {spec} is {names}\n")
            parts += catalogued

    def rows() -> Iterator[tuple[str, Record]]:
        for part in dict.fromkeys(parts):
            if isinstance(part, str):
                yield from run.rows([part])
            else:
                yield from run.counted(source_rows(part))

    return rows()
