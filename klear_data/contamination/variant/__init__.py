"""The class ``variant``: the text of a benchmark item with other numbers in it.

Every number is masked, however it is spelled, words lose their endings, and an item counts when at least
:data:`LEAST_COVERAGE` of its tokens stand in the prompt in their order, at least half of them in runs of
:data:`KEY_TOKENS`: the whole item, never one sentence that many share. Prompts with the item's own numbers belong
to other classes, and so do items of fewer than :data:`LEAST_WORDS` words, which are templates ("What is 7 + 9?").
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from functools import cached_property
from typing import Any

from klear_data.contamination.overlap.encode import CHARACTER, NUMBER, WORD, Encoder
from klear_data.contamination.overlap.index import flat, postings
from klear_data.contamination.types import Evidence, Item, Problem
from klear_data.text import normalise

KEY_TOKENS = 5
LEAST_COVERAGE = 0.9
LEAST_WORDS = 10
SPAN_CHARACTERS = 200


class VariantScorer:
    """Items ready to be found again with other numbers.

    Args:
        items: of the benchmarks.
        encoder: made from their normalised texts.
    """

    def __init__(self, items: Sequence[Item], encoder: Encoder) -> None:
        self._items = items
        self._encoder = encoder

    def score_many(self, problems: Sequence[Problem]) -> list[Evidence | None]:
        """The evidence against each prompt, ``None`` where there is none."""
        from klear_data.contamination.variant import kernels

        batch = self._encoder.encode([problem.normalised for problem in problems])
        same_text_items: Any = kernels.same_text_items  # numba types it without its arguments
        found, coverages = same_text_items(batch.codes, batch.starts, KEY_TOKENS, *self._tables, LEAST_COVERAGE)
        return [
            None if item < 0 else self._evidence(item, coverage)
            for item, coverage in zip(found.tolist(), coverages.tolist(), strict=True)
        ]

    def _evidence(self, item: int, coverage: float) -> Evidence:
        return {
            "class": "variant",
            "rule": "same text, other numbers",
            **self._items[item].named(),
            "span": normalise(self._items[item].text)[:SPAN_CHARACTERS],
            "coverage": round(coverage, 3),
        }

    @cached_property
    def _tables(self) -> Any:
        """What the kernel wants to know of the items, in its order."""
        import numpy as np

        from klear_data.contamination.variant import kernels

        texts = self._encoder.item_codes()
        tokens = [kernels.masked(text) for text in texts]
        key_lists = [
            kernels.sequence_keys(sequence, KEY_TOKENS).tolist() if _is_text(sequence) else [] for sequence in tokens
        ]
        keys = np.array(sorted(set().union(*key_lists)), dtype=np.uint64)
        place_of = {key: place for place, key in enumerate(keys.tolist())}
        holders = [sorted({place_of[key] for key in key_list}) for key_list in key_lists]
        one = self._encoder.number_id(Fraction(1))
        counts = [Counter((text[text & 3 == NUMBER] >> 2).tolist()) for text in texts]
        for numbers in counts:
            numbers.pop(one, None)
        ids, number_starts = flat([list(numbers) for numbers in counts])
        often, _ = flat([list(numbers.values()) for numbers in counts])
        item_numbers = (number_starts, ids, often, one)
        return (keys, *postings(holders, len(keys)), *flat([sequence.tolist() for sequence in tokens]), item_numbers)


def _is_text(tokens: Any) -> bool:
    kinds: list[int] = (tokens & 3).tolist()
    return kinds.count(WORD) + kinds.count(CHARACTER) >= LEAST_WORDS
