"""``klear sources``: the catalogue that ``--sources top`` draws from."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from cli.options import examples, say

EXAMPLES = examples("klear sources", "klear sources --ability code")


def sources(
    ability: Annotated[Literal["math", "code"] | None, typer.Option(help="Only these.", show_default="both")] = None,
) -> None:
    """Print the catalogued data sets in the order of their rank, with licence and known defects."""
    from klear_data.sources.catalog import load_catalog

    for source in load_catalog():
        if ability in (None, source.ability):
            say(f"{source.ability}  {source.rank}  {source.name:<24}{source.hub_id}  [{source.license}]")
            say(f"         rank: {source.rank_from}")
            if source.defects:
                say(f"         note: {source.defects}")
