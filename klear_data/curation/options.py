"""What ``klear curate`` is asked to do with the rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from klear_data.curation.shards import Shard
from klear_data.records import Ability


@dataclass(frozen=True)
class CurateOptions:
    """What to do with the rows.

    Attributes:
        dedup: ``exact`` removes prompts that are equal after normalising, ``none`` keeps them.
        min_tests: code problems with fewer tests go.
        check_gold: golds of math problems must parse and verify against themselves.
        require_gold: problems without an answer or tests go.
        ability: what a problem is where its row does not say it.
        shard: which part of the rows is this run's, ``None`` for all.
    """

    dedup: Literal["exact", "none"] = "exact"
    min_tests: int = 1
    check_gold: bool = True
    require_gold: bool = True
    ability: Ability | None = None
    shard: Shard | None = None
