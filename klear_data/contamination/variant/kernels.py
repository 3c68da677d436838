"""The hot loop of the class ``variant``, compiled by numba. Codes are those of the package ``overlap``."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from klear_data.contamination.overlap.kernels import NOTHING, NUMBER, find, highest, mixed


@numba.njit(cache=True)
def masked(codes: Any) -> Any:
    """The tokens in their order, every number the same."""
    kept = np.empty(len(codes), np.int64)
    count = 0
    for code in codes:
        if code != NOTHING:
            kept[count] = NUMBER if code & 3 == NUMBER else code
            count += 1
    return kept[:count]


@numba.njit(cache=True)
def sequence_keys(tokens: Any, length: int) -> Any:
    """A key for every ``length`` tokens in a row, in their order."""
    keys = np.empty(max(0, len(tokens) - length + 1), np.uint64)
    for start in range(len(keys)):
        key = np.uint64(0)
        for place in range(start, start + length):
            key = mixed(key, tokens[place])
        keys[start] = key
    return keys


@numba.njit(cache=True)
def _common_length(one: Any, other: Any) -> int:
    """Length of the longest common subsequence."""
    row = np.zeros(len(other) + 1, np.int64)
    for token in one:
        diagonal = 0
        for place in range(1, len(other) + 1):
            above = row[place]
            if token == other[place - 1]:
                row[place] = diagonal + 1
            elif row[place - 1] > above:
                row[place] = row[place - 1]
            diagonal = above
    return int(row[len(other)])


@numba.njit(cache=True)
def same_text_items(
    codes: Any,
    starts: Any,
    length: int,
    keys: Any,
    post_starts: Any,
    post_items: Any,
    item_tokens: Any,
    item_starts: Any,
    item_numbers: Any,
    least: float,
) -> Any:
    """For each prompt the item whose text it holds with other numbers, -1 for none, and how much of it.

    Args:
        codes: of all prompts, one after the other; ``starts`` says where each begins.
        length: tokens in a row of a key.
        keys: sorted, of the masked items; the items that hold each are ``post_items``, from ``post_starts`` on.
        item_tokens: the items masked, one after the other; ``item_starts`` says where each begins.
        item_numbers: (starts by item, distinct ids of each item, how often each, the id of 1). A 1 is never among an
            item's numbers, nor does it count in a prompt: it comes and goes with the wording ("one of them").
        least: part of the item's tokens that must come in the prompt in their order.
    """
    count = len(starts) - 1
    items = np.full(count, -1, np.int64)
    coverages = np.zeros(count)
    hits = np.zeros(len(item_starts) - 1, np.int64)
    touched = np.empty(len(item_starts) - 1, np.int64)
    own_counts = np.zeros(max(highest(codes, NUMBER), _highest_id(item_numbers)) + 1, np.int64)
    for prompt in range(count):
        own = codes[starts[prompt] : starts[prompt + 1]]
        tokens = masked(own)
        reached = 0
        for key in sequence_keys(tokens, length):
            found = find(keys, key)
            if found < 0:
                continue
            for place in range(post_starts[found], post_starts[found + 1]):
                item = post_items[place]
                if hits[item] == 0:
                    touched[reached] = item
                    reached += 1
                hits[item] += 1
        for place in range(reached):
            item = touched[place]
            shared = hits[item]
            hits[item] = 0
            its = item_tokens[item_starts[item] : item_starts[item + 1]]
            # One edited token costs at most `length` keys; below half the text is another one.
            if 2 * shared < len(its) - length + 1:
                continue
            coverage = _common_length(its, tokens) / len(its)
            if coverage < least or coverage < coverages[prompt]:
                continue
            if coverage == coverages[prompt] and item > items[prompt]:
                continue
            if _same_numbers(own, item_numbers, item, own_counts):
                continue
            coverages[prompt] = coverage
            items[prompt] = item
    return items, coverages


@numba.njit(cache=True)
def _highest_id(item_numbers: Any) -> int:
    found = -1
    for number in item_numbers[1]:
        found = max(found, number)
    return found


@numba.njit(cache=True)
def _same_numbers(codes: Any, item_numbers: Any, item: int, counts: Any) -> bool:
    """Whether a prompt has an item's numbers, each as often; ``counts`` is all 0 before and after."""
    starts, ids, its_counts, one = item_numbers
    for place in range(starts[item], starts[item + 1]):
        counts[ids[place]] = -its_counts[place]
    for code in codes:
        if code != NOTHING and code & 3 == NUMBER and code >> 2 != one:
            counts[code >> 2] += 1
    same = True
    for place in range(starts[item], starts[item + 1]):
        same = same and counts[ids[place]] == 0
        counts[ids[place]] = 0
    for code in codes:
        if code != NOTHING and code & 3 == NUMBER:
            same = same and counts[code >> 2] == 0
            counts[code >> 2] = 0
    return same
