"""``klear curate``: few good problems out of raw collections, each drop with its reason."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cli.io import StageRun
from cli.options import StageFiles, examples, split_commas, stage_options, stdin_once
from klear_data.errors import UsageError
from klear_data.jsonl import Batch
from klear_data.records import Ability
from klear_data.stage import Outcome

if TYPE_CHECKING:
    from klear_data.curation.prepare import MakeDetector

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
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="Keep the I-th of N parts; `klear merge` joins them.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=0, help="Worker processes; 0 is one a core where golds are checked.")] = 0,
) -> None:
    """Turn raw problem files of any known schema into records, and drop what should not be trained on.

    Worked solutions and responses in the source are kept as rollouts.
    """
    from klear_data.curation import CurateOptions, Curation, Shard

    stdin_once(*set(split_commas(sources)), *set(split_commas(decontaminate or [])))
    make_detector = _detector_of(split_commas(decontaminate or []), ngram=ngram)
    run = StageRun("curate", files)
    curation = Curation(
        CurateOptions(
            dedup=dedup,
            min_tests=min_tests,
            check_gold=check_gold,
            require_gold=require_gold,
            ability=ability,
            shard=None if shard is None else Shard.parse(shard),
        ),
        make_detector=make_detector,
        jobs=jobs or _sensible_jobs(check_gold=check_gold),
        on_bad=run.bad_line,
    )
    batches = run.counted(_batches(run, split_commas(sources)))

    def outcomes() -> Iterator[Outcome]:
        yield from curation.run(batches)
        run.ledger.read -= curation.foreign
        run.ledger.notes.update(curation.notes())

    run.run(outcomes)


def _detector_of(specs: list[str], *, ngram: int) -> MakeDetector | None:
    """How to build the detector for some benchmark files, None for none."""
    from klear_data.contamination import Detector, DetectorOptions, read_benchmark
    from klear_data.sources.paths import expand_sources

    if not specs:
        return None
    items = [item for path in expand_sources(specs) for item in read_benchmark(path)]
    return partial(Detector, items, DetectorOptions(n=ngram))


def _sensible_jobs(*, check_gold: bool) -> int:
    """Workers pay where golds are verified; reading and comparing alone is done before they have started."""
    return (os.cpu_count() or 1) if check_gold else 1


def _batches(run: StageRun, specs: list[str]) -> Iterator[Batch]:
    """The rows of files and of catalogued sources, in the order named.

    Raises:
        UsageError: a name that is neither; told before anything is read.
    """
    from klear_data.curation.rows import row_batches
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

    def batches() -> Iterator[Batch]:
        for part in dict.fromkeys(parts):
            yield from run.file_batches(part) if isinstance(part, str) else row_batches(source_rows(part))

    return batches()
