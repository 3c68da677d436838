"""Benchmark items by what they say: which item has most in common with a prompt.

Weights are inverse document frequencies **in the items alone** (with a prior for small numbers), so that they
are the same for every batch, shard and run against the same benchmarks.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import cached_property
from typing import Any, NamedTuple

from klear_data.contamination.overlap.encode import NUMBER, WORD, Encoder
from klear_data.contamination.overlap.words import STOP_WORDS, stem
from klear_data.records import Record

_PRIOR_ITEMS = 100.0


class Features(NamedTuple):
    """What a prompt and an item have in common; also the coefficients of a linear score of that.

    Attributes:
        dice: of their distinct words and formulas, by weight.
        covered: how much of the item's weight the prompt has.
        numbers: weighted Jaccard of their numbers; where the item has none, the Dice.
        text_mass: log(1 + weight of the shared words and formulas).
        number_mass: log(1 + weight of the shared numbers); where the item has none, 3/4 of ``text_mass``.
        same_answer: 1 if both have the same gold answer, one that tells something.
    """

    dice: float
    covered: float
    numbers: float
    text_mass: float
    number_mass: float
    same_answer: float


class Match(NamedTuple):
    """The item nearest to a prompt, the score and what it was made of."""

    item: int
    score: float
    features: Features


class OverlapIndex:
    """Items to be compared with prompts by shared words, formulas and numbers.

    Args:
        encoder: made from the items' texts.
        answers: of each item, as :func:`answer_key` gives them.
        likelihood: about which part of all problems has a number, known beforehand; also for literals.
        formula_weight: of three signs in a row, beside a word: a formula of k signs counts k - 2 times.
        least_dice: pairs with less in common are not looked at.
        against_smaller: numbers agree by their share of the side that has less of them, instead of by the Jaccard.
    """

    def __init__(
        self,
        encoder: Encoder,
        answers: Sequence[int],
        *,
        likelihood: Callable[[Any], float] | None = None,
        formula_weight: float = 0.7,
        least_dice: float = 0.15,
        against_smaller: bool = False,
    ) -> None:
        self._encoder = encoder
        self._answers = list(answers)
        self._likelihood = likelihood or number_likelihood
        self._formula_weight = formula_weight
        self._least_dice = least_dice
        self._against_smaller = against_smaller

    def best(
        self, texts: Sequence[str], coefficients: Features, *, constant: float, answers: Sequence[int] = ()
    ) -> list[Match | None]:
        """The best match of each prompt under a linear score of the features, ``None`` where that is not above 0.

        Args:
            texts: the prompts, in the form that the encoder knows.
            coefficients: of the features; ``constant`` is added.
            answers: of the prompts, as :func:`answer_key` gives them; none by default.
        """
        import numpy as np

        from klear_data.contamination.overlap import kernels

        batch = self._encoder.encode(texts)
        keys = np.array(answers or [0] * len(texts), dtype=np.int64)
        linear = np.array([*coefficients, constant], dtype=np.float64)
        best_items: Any = kernels.best_items  # numba types it without its arguments
        items, scores, features = best_items(
            batch.codes, batch.starts, keys, *self._tables, linear, self._least_dice, self._against_smaller
        )
        matches: list[Match | None] = [None] * len(texts)
        for place in np.flatnonzero(scores > 0).tolist():
            matches[place] = Match(int(items[place]), float(scores[place]), Features(*features[place].tolist()))
        return matches

    @cached_property
    def _tables(self) -> Any:
        """What the kernel wants to know of the items, in its order."""
        import numpy as np

        from klear_data.contamination.overlap import kernels

        encoder = self._encoder
        texts = encoder.item_codes()
        word_lists = [np.unique(text[text & 3 == WORD] >> 2).tolist() for text in texts]
        key_lists = [np.unique(kernels.formula_keys(text)).tolist() for text in texts]
        number_counts = [Counter((text[text & 3 == NUMBER] >> 2).tolist()) for text in texts]
        keys = np.array(sorted(set().union(*key_lists)), dtype=np.uint64)
        place_of = {key: place for place, key in enumerate(keys.tolist())}
        formula_lists = [[place_of[key] for key in keys_] for keys_ in key_lists]

        word_weights = self._inverse_frequencies(word_lists, encoder.known[WORD])
        for stop_word in STOP_WORDS:
            known = encoder.word_id(stem(stop_word))
            if known is not None and known < len(word_weights):
                word_weights[known] = 0.0
        formula_weights = self._formula_weight * self._inverse_frequencies(formula_lists, len(keys))
        number_weights = self._number_weights(number_counts)
        mass = [
            sum(word_weights[word] for word in words) + sum(formula_weights[formula] for formula in formulas)
            for words, formulas in zip(word_lists, formula_lists, strict=True)
        ]
        rarest = math.log((len(texts) + 1) / 0.5)
        return (
            (word_weights, *postings(word_lists, len(word_weights)), rarest),
            (formula_weights, *postings(formula_lists, len(keys)), self._formula_weight * rarest),
            keys,
            (number_weights, math.log((len(texts) + _PRIOR_ITEMS + 1) / 0.5)),
            number_table(number_counts, number_weights),
            np.maximum(np.array(mass, dtype=np.float64), 1e-9),
            np.array(self._answers, dtype=np.int64),
        )

    @staticmethod
    def _inverse_frequencies(lists: Sequence[Sequence[int]], size: int) -> Any:
        import numpy as np

        holders = np.bincount(
            np.array([number for numbers in lists for number in numbers], dtype=np.int64), minlength=size
        )
        return np.log((len(lists) + 1) / (holders + 0.5))

    def _number_weights(self, lists: Sequence[Counter[int]]) -> Any:
        """Inverse frequencies, with a prior: 2 and 3 say little even where the benchmark seldom has them."""
        import numpy as np

        holders = Counter(number for numbers in lists for number in numbers)
        everything = len(lists) + _PRIOR_ITEMS
        weights = [
            math.log((everything + 1) / (holders[number] + _PRIOR_ITEMS * self._likelihood(value) + 0.5))
            for number, value in enumerate(self._encoder.number_values())
        ]
        # 1 comes and goes with the wording ("one of them", "a bag"), and 0 tells little.
        for number, value in enumerate(self._encoder.number_values()):
            if value in (0, 1):
                weights[number] = 0.3
        return np.array(weights, dtype=np.float64)


def number_likelihood(value: Fraction) -> float:
    """About which part of word problems mentions a number: 2 in 45 of a hundred, 10 in 18, 57 in 2."""
    if value.denominator != 1:
        return 0.05 if value.denominator <= 4 else 0.01
    size = abs(value.numerator)
    return 0.5 if size <= 1 else min(0.45, 0.9 / size) * (2 if size % 10 == 0 else 1)


def answer_key(record: Record | Mapping[str, Any]) -> int:
    """A key of a math record's gold answer; 0 where it has none, or one that many problems have.

    Equal answers are evidence, different ones are not: golds of copies are often missing or spelled otherwise.
    """
    gold = (record.get("reward_model") or {}).get("ground_truth")
    if not isinstance(gold, str) or record.get("ability") != "math":
        return 0
    plain = gold.replace(",", "").replace(" ", "").replace("$", "").strip(".").casefold()
    return _stable_hash(plain) if 2 <= len(plain) <= 100 else 0


def _stable_hash(text: str) -> int:
    """63 bits that are the same in every process, as those of ``hash`` are not."""
    import zlib

    data = text.encode("utf-8", "surrogatepass")
    return (zlib.crc32(data) << 31 | zlib.crc32(data, 1) >> 1) or 1


def number_table(counts: Sequence[Counter[int]], weights: Any) -> tuple[Any, Any, Any, Any]:
    """The numbers of items for the kernels: starts, distinct ids, how often each, weight of all by item."""
    import numpy as np

    ids, starts = flat([list(numbers) for numbers in counts])
    often, _ = flat([list(numbers.values()) for numbers in counts])
    masses = [sum(weights[number] * count for number, count in numbers.items()) for numbers in counts]
    return starts, ids, often, np.array(masses, dtype=np.float64)


def flat(lists: Sequence[Sequence[int]]) -> tuple[Any, Any]:
    """Lists one after the other, and where each starts."""
    import numpy as np

    starts = np.zeros(len(lists) + 1, dtype=np.int64)
    np.cumsum([len(numbers) for numbers in lists], out=starts[1:])
    return np.array([number for numbers in lists for number in numbers], dtype=np.int64), starts


def postings(lists: Sequence[Sequence[int]], size: int) -> tuple[Any, Any]:
    """For each number which lists hold it: starts, and the lists' places."""
    holders: list[list[int]] = [[] for _ in range(size)]
    for place, numbers in enumerate(lists):
        for number in numbers:
            holders[number].append(place)
    places, starts = flat(holders)
    return starts, places
