"""``klear curate``: few good problems out of raw collections, each drop with its reason."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cli.io import StageRun
from cli.options import StageFiles, examples, split_commas, stage_options, stdin_once
from klear_data.errors import UsageError
from klear_data.jsonl import Batch
from klear_data.records import Ability
from klear_data.stage import Outcome

if TYPE_CHECKING:
    from klear_data.curation import CurateOptions
    from klear_data.curation.prepare import MakeDetector
    from klear_data.sources.catalog import CataloguedSource

EXAMPLES = examples(
    "klear curate --sources gsm8k.jsonl,math.json --decontaminate math500.jsonl --rejects out.jsonl > curated.jsonl",
    "klear curate --sources top --min-tests 16 --report curate.json --resume -o curated.jsonl",
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
    max_per_source: Annotated[
        int | None, typer.Option(min=1, help="Read at most this many rows of each.", show_default="all")
    ] = None,
    dedup: Annotated[
        Literal["exact", "near", "none"], typer.Option(help="Remove problems that are the same, or nearly.")
    ] = "exact",
    dedup_key: Annotated[
        Literal["text", "latex"], typer.Option(help="Same text, or same text in one spelling of LaTeX.")
    ] = "text",
    near_threshold: Annotated[
        float, typer.Option(min=0.5, max=1.0, help="Jaccard similarity that makes two problems nearly the same.")
    ] = 0.7,
    prefer: Annotated[
        Literal["first", "rank"], typer.Option(help="Which of the same problems stays: first, or best-ranked source.")
    ] = "first",
    on_conflict: Annotated[
        Literal["drop", "first"], typer.Option(help="Same problem, different answers: drop all, or believe the one.")
    ] = "drop",
    decontaminate: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME|FILE|DIR|GLOB", help="Benchmarks; problems that stand in one are dropped."),
    ] = None,
    ngram: Annotated[int, typer.Option(min=2, help="Words in a row that make a problem contaminated.")] = 9,
    tokeniser: Annotated[
        Literal["words", "whitespace", "latex"], typer.Option(help="What the words in a row are.")
    ] = "words",
    on: Annotated[
        list[str] | None,
        typer.Option(metavar="CLASS=POLICY", help="Of a class of evidence: drop, review, keep or off; repeated."),
    ] = None,
    scan_solutions: Annotated[
        bool, typer.Option("--scan-solutions", help="Look responses and benchmark solutions up too.")
    ] = False,
    filters: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Filters to switch on; `none` and `all` begin anew.")
    ] = None,
    no_filter: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Filters to switch off.")] = None,
    prompt_chars: Annotated[
        str | None, typer.Option(metavar="LEAST:MOST", help="Drop prompts that are shorter or longer.")
    ] = None,
    prompt_tokens: Annotated[
        str | None, typer.Option(metavar="LEAST:MOST", help="The same in words, digits and signs.")
    ] = None,
    languages: Annotated[str | None, typer.Option(metavar="en,zh,…", help="Drop prompts in others.")] = None,
    min_tests: Annotated[int, typer.Option(min=1, help="Drop code problems with fewer tests (the paper: 16).")] = 1,
    ability: Annotated[
        Ability | None, typer.Option(help="Of problems whose source does not tell.", show_default="from the columns")
    ] = None,
    require_gold: Annotated[
        bool | None,
        typer.Option(
            "--require-gold/--no-require-gold",
            help="Drop problems without an answer or tests.",
            show_default="unless all sources are catalogued as without",
        ),
    ] = None,
    check_gold: Annotated[
        bool, typer.Option("--check-gold/--no-check-gold", help="Drop answers that do not verify against themselves.")
    ] = True,
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="Keep the I-th of N parts; `klear merge` joins them.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Keep what is done and go on after it.")] = False,
    jobs: Annotated[int, typer.Option(min=0, help="Worker processes; 0 is one a core where golds are checked.")] = 0,
) -> None:
    """Turn raw problem files of any known schema into records, and drop what should not be trained on.

    Worked solutions and responses in the source are kept as rollouts.
    """
    from cli.decontamination import benchmark_items, benchmark_names, policy_of
    from klear_data.contamination import Detector, DetectorOptions
    from klear_data.curation import CurateOptions, Shard
    from klear_data.filters import Bounds, chosen_filters, parse_languages

    specs, benchmarks = split_commas(sources), benchmark_names(decontaminate or [])
    stdin_once(*set(specs), *set(benchmarks))
    parts = _parts(specs)
    if require_gold is None:
        require_gold = not _all_without_gold(parts)
    options = CurateOptions(
        dedup=dedup,
        dedup_key=dedup_key,
        near_threshold=near_threshold,
        prefer=prefer,
        on_conflict=on_conflict,
        filters=chosen_filters(split_commas(filters or []), split_commas(no_filter or [])),
        min_tests=min_tests,
        chars=Bounds() if prompt_chars is None else Bounds.parse(prompt_chars, option="--prompt-chars"),
        tokens=Bounds() if prompt_tokens is None else Bounds.parse(prompt_tokens, option="--prompt-tokens"),
        languages=() if languages is None else parse_languages(languages, option="--languages"),
        check_gold=check_gold,
        require_gold=require_gold,
        ability=ability,
        shard=None if shard is None else Shard.parse(shard),
    )
    if options.shard is not None and dedup == "near":
        raise UsageError(
            "--shard with --dedup near: nearly equal problems may be in two shards; expected --dedup exact; merge "
            "the parts, then run `klear curate --dedup near` on the result"
        )
    detection = DetectorOptions(
        n=ngram, tokeniser=tokeniser, policy=policy_of(split_commas(on or [])), scan_solutions=scan_solutions
    )
    make_detector = partial(Detector, benchmark_items(benchmarks), detection) if benchmarks else None
    settings = {"options": repr(options), "sources": specs, "benchmarks": benchmarks, "detection": repr(detection)}
    _run(
        StageRun("curate", files),
        options,
        batches=lambda run: _batches(run, parts, at_most=max_per_source),
        make_detector=make_detector,
        jobs=jobs or ((os.cpu_count() or 1) if check_gold else 1),
        settings={**settings, "max_per_source": max_per_source, "limit": files.limit} if resume else None,
    )


def _run(
    run: StageRun,
    options: CurateOptions,
    *,
    batches: Callable[[StageRun], Iterator[Batch]],
    make_detector: MakeDetector | None,
    jobs: int,
    settings: dict[str, Any] | None,
) -> None:
    """Run the stage; ``settings`` are written down where the run can be resumed."""
    from klear_data.curation import Curation
    from klear_data.curation.journal import Journal

    rows = run.counted(batches(run))
    journal = None if settings is None else Journal(run.files.output, settings)
    curation = Curation(options, make_detector=make_detector, jobs=jobs, journal=journal, on_bad=run.bad_line)

    def outcomes() -> Iterator[Outcome]:
        yield from curation.run(rows)
        run.ledger.read -= curation.foreign
        run.ledger.notes.update(curation.notes())

    # Cycles are rare here, batches are large and the benchmarks' index is larger: the collector would look at
    # all of them many times for nothing.
    gc.freeze()
    gc.set_threshold(1_000_000)
    run.run(outcomes)
    if journal is not None:
        journal.remove()


def _parts(specs: list[str]) -> list[CataloguedSource | str]:
    """The files and catalogued sources that are meant, in the order named, each once.

    Raises:
        UsageError: a name that is neither; told before anything is read.
    """
    from klear_data.sources.catalog import expand_names, where_from
    from klear_data.sources.paths import expand_sources

    if not specs:
        raise UsageError("--sources: empty; expected files or names; `klear sources` lists the names")
    parts: list[CataloguedSource | str] = []
    for spec in specs:
        catalogued = expand_names(spec)
        if catalogued is None:
            parts += expand_sources([spec])
        else:
            names = ", ".join(map(where_from, catalogued))
            sys.stderr.write(f"klear curate: --sources {spec} is {names}\n")
            parts += catalogued
    return list(dict.fromkeys(parts))


def _all_without_gold(parts: list[CataloguedSource | str]) -> bool:
    """Whether nothing but problems without answers can come; says of which sources that is known."""
    without = [part.name for part in parts if not isinstance(part, str) and not part.gold]
    kept = len(without) == len(parts)
    if without:
        fate = "they stay, and their responses unjudged; --require-gold drops them" if kept else (
            "they go unless a duplicate brings one; --no-require-gold keeps them"
        )  # fmt: skip
        sys.stderr.write(f"klear curate: {', '.join(without)}: problems without answers or tests; {fate}\n")
    return kept


def _batches(run: StageRun, parts: list[CataloguedSource | str], *, at_most: int | None) -> Iterator[Batch]:
    """The rows of files and of catalogued sources."""
    from klear_data.curation import row_batches
    from klear_data.sources.catalog import source_rows

    for part in parts:
        if isinstance(part, str):
            yield from run.file_batches(part, at_most=at_most)
        else:
            yield from row_batches(source_rows(part, at_most=at_most))
