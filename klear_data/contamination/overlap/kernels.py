"""The hot loops of the overlap classes, compiled by numba. Codes are those of :mod:`encode`."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

WORD, NUMBER = 0, 1
NOTHING = -1

# The fields of klear_data.contamination.overlap.index.Features, in their order.
DICE, COVERED, NUMBERS, TEXT_MASS, NUMBER_MASS, SAME_ANSWER = range(6)
FEATURES = 6

_MIX = np.uint64(0x9E3779B97F4A7C15)


@numba.njit(cache=True)
def mixed(hash_: Any, code: Any) -> Any:
    hash_ = (hash_ ^ np.uint64(code + 2)) * _MIX
    return hash_ ^ (hash_ >> np.uint64(29))


@numba.njit(cache=True)
def find(keys: Any, key: Any) -> int:
    """Place of a key among sorted ones, -1 where it isn't. (Numba takes a second to compile numpy's search.)"""
    low, high = 0, len(keys)
    while low < high:
        middle = (low + high) // 2
        if keys[middle] < key:
            low = middle + 1
        else:
            high = middle
    return low if low < len(keys) and keys[low] == key else -1


@numba.njit(cache=True)
def formula_keys(codes: Any) -> Any:
    """A key for every three signs in a row (numbers, letters, operators, characters) that no word parts."""
    keys = np.empty(len(codes), np.uint64)
    count = 0
    run = 0
    first = second = np.int64(0)
    for code in codes:
        if code == NOTHING:
            continue
        if code & 3 == WORD:
            run = 0
            continue
        run += 1
        if run >= 3:
            keys[count] = mixed(mixed(mixed(np.uint64(0), first), second), code)
            count += 1
        first, second = second, code
    return keys[:count]


@numba.njit(cache=True)
def best_items(
    codes: Any,
    starts: Any,
    answers: Any,
    words: Any,
    formulas: Any,
    formula_order: Any,
    numbers: Any,
    item_numbers: Any,
    item_mass: Any,
    item_answers: Any,
    coefficients: Any,
    least_dice: float,
    against_smaller: bool,
) -> Any:
    """For each prompt the item whose score is highest (-1 for none), the score, and the features of the pair.

    Args:
        codes: of all prompts, one after the other; ``starts`` says where each begins.
        answers: a key of each prompt's answer, 0 where it has none that tells; ``item_answers`` likewise.
        words: (weight by id, posting starts, posting items, weight of an unknown one).
        formulas: the same by place in ``formula_order``, the sorted keys.
        numbers: (weight by id, weight of an unknown one).
        item_numbers: (starts by item, distinct ids of each item, how often each, weight of all by item).
        item_mass: weight of all words and formulas of each item.
        coefficients: of the features, and last the constant.
        least_dice: pairs below are not looked at.
        against_smaller: numbers agree by their share of the side that has less, instead of by the Jaccard.
    """
    count = len(starts) - 1
    items = np.full(count, -1, np.int64)
    scores = np.full(count, -np.inf)
    features = np.zeros((count, FEATURES))
    shared = np.zeros(len(item_mass))
    touched = np.empty(len(item_mass), np.int64)
    row = np.zeros(FEATURES)
    number_weights, unknown_number = numbers
    number_starts, number_ids, number_counts, number_masses = item_numbers
    # Who saw it last: cheaper than to sort each prompt's tokens, and to empty a set.
    word_seen = np.full(highest(codes, WORD) + 1, -1, np.int64)
    formula_seen = np.full(len(formula_order), -1, np.int64)
    own_counts = np.zeros(max(highest(codes, NUMBER) + 1, len(number_weights)), np.int64)
    for prompt in range(count):
        own = codes[starts[prompt] : starts[prompt + 1]]
        word_mass, reached = _share_words(own, prompt, words, word_seen, shared, touched)
        formula_mass, reached = _share_formulas(
            own, prompt, formulas, formula_order, formula_seen, shared, touched, reached
        )
        mass = word_mass + formula_mass
        number_mass = 0.0
        for code in own:
            if code != NOTHING and code & 3 == NUMBER:
                number = code >> 2
                own_counts[number] += 1
                number_mass += number_weights[number] if number < len(number_weights) else unknown_number
        for item in touched[:reached]:
            both = shared[item]
            shared[item] = 0.0
            dice = 2.0 * both / (mass + item_mass[item])
            if dice < least_dice:
                continue
            agreed = 0.0
            for place in range(number_starts[item], number_starts[item + 1]):
                number = number_ids[place]
                agreed += number_weights[number] * min(number_counts[place], own_counts[number])
            row[DICE] = dice
            row[COVERED] = both / item_mass[item]
            row[TEXT_MASS] = np.log1p(both)
            _compare_numbers(row, agreed, number_mass, number_masses[item], against_smaller)
            row[SAME_ANSWER] = 1.0 if answers[prompt] != 0 and answers[prompt] == item_answers[item] else 0.0
            score = coefficients[FEATURES]
            for column in range(FEATURES):
                score += coefficients[column] * row[column]
            if score > scores[prompt] or (score == scores[prompt] and item < items[prompt]):
                scores[prompt] = score
                items[prompt] = item
                features[prompt] = row
        for code in own:
            if code != NOTHING and code & 3 == NUMBER:
                own_counts[code >> 2] = 0
    return items, scores, features


@numba.njit(cache=True)
def _share_words(own: Any, prompt: int, words: Any, seen: Any, shared: Any, touched: Any) -> Any:
    """Weight of a prompt's distinct words, and how many items have one of them; ``shared`` gets the weights."""
    weights, post_starts, post_items, unknown = words
    mass = 0.0
    reached = 0
    for code in own:
        word = code >> 2
        if code == NOTHING or code & 3 != WORD or seen[word] == prompt:
            continue
        seen[word] = prompt
        if word >= len(weights):
            mass += unknown
        elif weights[word] > 0.0:
            mass += weights[word]
            reached = _add(
                post_items[post_starts[word] : post_starts[word + 1]], weights[word], shared, touched, reached
            )
    return mass, reached


@numba.njit(cache=True)
def _share_formulas(
    own: Any, prompt: int, formulas: Any, order: Any, seen: Any, shared: Any, touched: Any, reached: int
) -> Any:
    """The same for the formulas; a known one counts once, and an unknown one as often as it stands there."""
    weights, post_starts, post_items, unknown = formulas
    mass = 0.0
    for key in formula_keys(own):
        place = find(order, key)
        if place < 0:
            mass += unknown
        elif seen[place] != prompt and weights[place] > 0.0:
            seen[place] = prompt
            mass += weights[place]
            reached = _add(
                post_items[post_starts[place] : post_starts[place + 1]], weights[place], shared, touched, reached
            )
    return mass, reached


@numba.njit(cache=True)
def highest(codes: Any, kind: int) -> int:
    """The highest id of a kind, -1 where there is none."""
    found = -1
    for code in codes:
        if code != NOTHING and code & 3 == kind and code >> 2 > found:
            found = code >> 2
    return found


@numba.njit(cache=True)
def _add(items: Any, weight: float, shared: Any, touched: Any, reached: int) -> int:
    """Add a weight to what some items share with the prompt; how many items that makes in all."""
    for item in items:
        if shared[item] == 0.0:
            touched[reached] = item
            reached += 1
        shared[item] += weight
    return reached


@numba.njit(cache=True)
def _compare_numbers(row: Any, agreed: float, mass: float, item_mass: float, against_smaller: bool) -> None:
    """Fill in the features of the numbers, from the weight of what both have and of what each has."""
    if item_mass == 0.0 or (against_smaller and mass == 0.0):
        # Nothing to agree on: the words have to carry both.
        row[NUMBERS] = row[DICE]
        row[NUMBER_MASS] = 0.75 * row[TEXT_MASS]
        return
    whole = min(mass, item_mass) if against_smaller else mass + item_mass - agreed
    row[NUMBERS] = agreed / whole
    row[NUMBER_MASS] = np.log1p(agreed)
