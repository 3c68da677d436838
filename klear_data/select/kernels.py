"""K-Center greedy, blocked: the picks of the plain greedy at the price of matrix products.

Every decision rests on exact distances (float64, summed in the order of the coordinates). Products in float32
only say which distances can't matter: each is off by less than a bound, and what is within it of mattering is
computed exactly.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

BLOCK = 2048
_ROWS = 1024
_CHOSEN = -1.0


@numba.njit(cache=True)
def squared_distance(left: Any, right: Any) -> float:
    """In float64, one coordinate after the other: the same number whoever asks."""
    total = 0.0
    for at in range(left.size):
        difference = np.float64(left[at]) - np.float64(right[at])
        total += difference * difference
    return total


@numba.njit(cache=True)
def squared_norms(vectors: Any) -> Any:
    origin = np.zeros(vectors.shape[1], dtype=vectors.dtype)
    norms = np.empty(vectors.shape[0])
    for row in range(norms.size):
        norms[row] = squared_distance(vectors[row], origin)
    return norms


@numba.njit(cache=True, fastmath=True)
def _may_be_closer(products: Any, half_norms: Any, above: float) -> Any:
    """True if a centre may be closer than some distance: ``x·c − |c|²/2`` is the larger, the closer c is to x."""
    highest = np.float32(-np.inf)
    for at in range(products.size):
        highest = max(highest, products[at] - half_norms[at])
    return highest >= above


@numba.njit(cache=True)
def lower(
    first: int, products: Any, vectors: Any, norms: Any, centres: Any, centre_norms: Any, slack: float, number: int,
    near: Any, nearest: Any,
) -> None:  # fmt: skip
    """Take new centres into account for a range of rows.

    Args:
        first: the first row.
        products: of the rows' vectors with the centres', float32.
        vectors: of all rows.
        norms: their squared norms.
        centres: the new centres' vectors.
        centre_norms: their squared norms.
        slack: by how much a squared distance from ``products`` may be off.
        number: how many centres there were before.
        near: the squared distance of each row to its nearest centre, updated.
        nearest: the number of that centre, updated.
    """
    half_norms = (centre_norms / 2).astype(np.float32)
    for place in range(products.shape[0]):
        row = first + place
        if near[row] == _CHOSEN:
            continue
        above = (norms[row] - near[row] - slack) / 2
        if not _may_be_closer(products[place], half_norms, above):
            continue
        for at in range(half_norms.size):
            if products[place, at] - half_norms[at] >= (norms[row] - near[row] - slack) / 2:
                distance = squared_distance(vectors[row], centres[at])
                if distance < near[row]:
                    near[row], nearest[row] = distance, number + at


@numba.njit(cache=True)
def pick(
    rows: Any, vectors: Any, products: Any, norms: Any, slack: float, bound: float, bound_row: int, most: int,
    near: Any, picked: Any, distances: Any,
) -> int:  # fmt: skip
    """Farthest-first among a block of rows, as long as none outside can be farther.

    Args:
        rows: of the block, the farthest first.
        vectors: of all rows.
        products: of the block's vectors with each other, float32.
        norms: squared norms of all rows.
        slack: by how much a squared distance from ``products`` may be off.
        bound: no row outside has a higher ``near``,
        bound_row: and none before this row has one as high.
        most: picks at most.
        near: of the block, a copy; updated.
        picked: filled with places in the block.
        distances: filled with the squared distance of each pick to the centres before it.

    Returns:
        How many were picked; one at least.
    """
    count = 0
    while count < most:
        best = 0
        for place in range(1, rows.size):
            if near[place] > near[best] or (near[place] == near[best] and rows[place] < rows[best]):
                best = place
        if near[best] == _CHOSEN:
            break
        if count and (near[best] < bound or (near[best] == bound and rows[best] > bound_row)):
            break
        picked[count], distances[count] = best, near[best]
        count += 1
        near[best] = _CHOSEN
        best_norm = norms[rows[best]]
        for place in range(rows.size):
            if near[place] == _CHOSEN:
                continue
            if norms[rows[place]] + best_norm - 2 * products[best, place] - slack < near[place]:
                near[place] = min(near[place], squared_distance(vectors[rows[place]], vectors[rows[best]]))
    return count


def product_slack(norms: Any, dimensions: int) -> float:
    """By how much a squared distance from float32 products may be off: the bound for sums in any order."""
    return float((2 * dimensions + 32) * 2.0**-24 * norms.max(initial=0.0))


def lower_all(vectors: Any, norms: Any, centres: Any, centre_norms: Any, number: int, near: Any, nearest: Any) -> None:
    """Take new centres into account for all rows; a few rows at a time, so that the products stay in the cache."""
    slack = product_slack(np.concatenate([norms, centre_norms]), vectors.shape[1])
    across = np.ascontiguousarray(centres.T)
    for first in range(0, len(vectors), _ROWS):
        products = vectors[first : first + _ROWS] @ across
        lower(first, products, vectors, norms, centres, centre_norms, slack, number, near, nearest)


def farthest_block(near: Any, size: int) -> tuple[Any, float, int]:
    """The rows with the highest ``near`` (of equal ones the first), and a bound on all others as value and row."""
    if size >= near.size:
        rows, threshold = np.arange(near.size), -np.inf
    else:
        threshold = np.partition(near, near.size - size - 1)[near.size - size - 1]
        rows = np.flatnonzero(near > threshold)
        missing = size - rows.size
        ties = np.flatnonzero(near == threshold)
        rows = np.concatenate([rows, ties[:missing]])
        if missing < ties.size:
            return rows, float(threshold), int(ties[missing])
    return rows, float(threshold), -1
