"""What ``klear curate`` is asked to do with the rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from klear_data.curation.shards import Shard
from klear_data.dedup import OnConflict, Prefer
from klear_data.filters import DEFAULTS, Bounds, Filter, FilterOptions, row_filters
from klear_data.filters.length import ANY
from klear_data.records import Ability


@dataclass(frozen=True)
class CurateOptions:
    """What to do with the rows.

    Attributes:
        dedup: ``exact`` removes prompts that are equal after normalising, ``near`` also those that are nearly
            the same, ``none`` keeps them.
        dedup_key: what must be equal: the normalised ``text``, or that in one spelling of ``latex``.
        near_threshold: the least Jaccard similarity of near-duplicates.
        prefer: which of several equal prompts stays: the ``first``, or that of the best-``rank``ed source.
        on_conflict: what golds that contradict each other do: ``drop`` all, or believe the ``first``.
        filters: names of the filters that are on.
        min_tests: code problems with fewer tests go.
        chars: bounds of a prompt's length.
        tokens: likewise, in tokens.
        languages: to keep; none named keeps all.
        check_gold: golds of math problems must parse and verify against themselves.
        require_gold: problems without an answer or tests go.
        ability: what a problem is where its row does not say it.
        shard: which part of the rows is this run's, ``None`` for all.
    """

    dedup: Literal["exact", "near", "none"] = "exact"
    dedup_key: Literal["text", "latex"] = "text"
    near_threshold: float = 0.7
    prefer: Prefer = "first"
    on_conflict: OnConflict = "drop"
    filters: tuple[str, ...] = DEFAULTS
    min_tests: int = 1
    chars: Bounds = ANY
    tokens: Bounds = ANY
    languages: tuple[str, ...] = ()
    check_gold: bool = True
    require_gold: bool = True
    ability: Ability | None = None
    shard: Shard | None = None

    def row_filters(self, *, sound: bool = False) -> list[Filter]:
        """The filters that look at one record, in the order in which they are asked (see :func:`row_filters`)."""
        names = [name for name in self.filters if name != "gold" or self.check_gold]
        needed = FilterOptions(min_tests=self.min_tests, chars=self.chars, tokens=self.tokens, languages=self.languages)
        return row_filters(names, needed, sound=sound)
