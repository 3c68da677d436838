"""``klear sources``: the catalogues behind ``--sources top`` and ``--decontaminate NAME``."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from cli.options import examples, say

EXAMPLES = examples("klear sources --ability code", "klear sources --benchmarks")


def sources(
    ability: Annotated[Literal["math", "code"] | None, typer.Option(help="Only these.", show_default="both")] = None,
    benchmarks: Annotated[
        bool, typer.Option("--benchmarks", help="The benchmarks that --decontaminate knows by name instead.")
    ] = False,
) -> None:
    """Print the catalogued data sets in the order of their rank, with licence and known defects."""
    if benchmarks:
        _print_benchmarks(ability)
    else:
        _print_sources(ability)


def _print_sources(ability: str | None) -> None:
    from klear_data.sources.catalog import load_catalog

    for source in load_catalog():
        if ability in (None, source.ability):
            gold = "" if source.gold else "  no gold"
            say(f"{source.ability} {source.rank:>2}  {source.name:<24}{source.hub_id}  [{source.license}]{gold}")
            say(f"         rank: {source.sure}: {source.rank_from}")
            _print_rest(source.revision, source.defects)


def _print_benchmarks(ability: str | None) -> None:
    from klear_data.sources.benchmarks import load_benchmarks

    for benchmark in load_benchmarks():
        if ability in (None, benchmark.ability):
            items = f"{benchmark.items:>5,}" if benchmark.items else "    ?"
            say(f"{benchmark.ability} {items}  {benchmark.name:<15}{benchmark.hub_id}  [{benchmark.license}]")
            if benchmark.window:
                say(f"            days: {' to '.join(benchmark.window)}")
            _print_rest(benchmark.revision, benchmark.defects)


def _print_rest(revision: str | None, defects: str) -> None:
    if revision:
        say(f"         revision: {revision}")
    if defects:
        say(f"         note: {defects}")
