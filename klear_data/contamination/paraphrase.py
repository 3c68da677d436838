"""The class ``paraphrase``: a benchmark item in other words.

A prompt is compared with the item it shares most with, on six figures: the Dice overlap of words and formulas by
weight, how much of the item's weight the prompt has, the weighted Jaccard of the numbers, how much text and how
many rare numbers are shared in all (two short questions agree by chance, two long ones don't), and equal gold
answers. A prompt is a rewording where their linear score is above 0.

The order of words plays no part, and numbers count by value ("a dozen" is 12). Weights are inverse document
frequencies in the benchmark items, so a verdict depends on the prompt and the benchmarks and on nothing else.

The coefficients were fitted by logistic regression on one half of 657 GSM8K test problems reworded by a language
model, half of our own rewordings, and half of 20,000 training problems, and rounded; that of the answers is set by
hand, as the rewordings have none. docs/decontamination.md has the figures on the other halves.
"""

from __future__ import annotations

from collections.abc import Sequence

from klear_data.contamination.overlap.encode import Encoder, tokens_of
from klear_data.contamination.overlap.index import Features, Match, OverlapIndex, answer_key
from klear_data.contamination.overlap.words import STOP_WORDS
from klear_data.contamination.types import Evidence, Item, Problem
from klear_data.text import normalise

COEFFICIENTS = Features(dice=4.5, covered=0.5, numbers=8.8, text_mass=1.1, number_mass=1.7, same_answer=1.5)
CONSTANT = -15.9
SPAN_WORDS = 12


class ParaphraseScorer:
    """Items ready to be found again in other words.

    Args:
        items: of the benchmarks.
        encoder: made from their normalised texts.
    """

    def __init__(self, items: Sequence[Item], encoder: Encoder) -> None:
        self._items = items
        self._encoder = encoder
        self._index = OverlapIndex(encoder, [answer_key(item.record) for item in items])

    def score_many(self, problems: Sequence[Problem]) -> list[Evidence | None]:
        """The evidence against each prompt, ``None`` where there is none."""
        matches = self._index.best(
            [problem.normalised for problem in problems],
            COEFFICIENTS,
            constant=CONSTANT,
            answers=[answer_key(problem.record) for problem in problems],
        )
        return [
            None if match is None else self._evidence(problem, match)
            for problem, match in zip(problems, matches, strict=True)
        ]

    def _evidence(self, problem: Problem, match: Match) -> Evidence:
        item = self._items[match.item]
        return {
            "class": "paraphrase",
            "rule": "words and numbers",
            **item.named(),
            "span": self._shared(item, problem),
            "coverage": round(match.features.covered, 3),
            "score": round(match.score, 2),
            "text_overlap": round(match.features.dice, 3),
            "number_overlap": round(match.features.numbers, 3),
            **({"same_answer": True} if match.features.same_answer else {}),
        }

    def _shared(self, item: Item, problem: Problem) -> str:
        """Words and numbers that both have, in the item's order."""
        wanted = {self._encoder.key_of(token) for token in tokens_of(problem.normalised)}
        found = dict.fromkeys(token for token in tokens_of(normalise(item.text)) if self._tells(token, wanted))
        return " ".join(list(found)[:SPAN_WORDS])

    def _tells(self, token: str, wanted: set[tuple[int, object] | None]) -> bool:
        key = self._encoder.key_of(token)
        return (
            key is not None and key in wanted and (token[0].isdigit() or (len(token) > 1 and token not in STOP_WORDS))
        )
