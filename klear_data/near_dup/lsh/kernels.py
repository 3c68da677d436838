"""Clusters against representatives: MinHash, an index of bands, and the exact Jaccard of what it proposes.

The index is a hash table with chaining. An entry is one band of one representative, numbered
``representative × bands + band``, so nothing of a key is kept: a wrong guess costs a look, never a verdict.
The numbers of a text are part of its keys, since texts of different numbers are no near-duplicates.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np

from klear_data.near_dup.kernels import Numbers, mix
from klear_data.near_dup.lsh import ROWS_A_BAND

_U32 = np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)
_NO_MINIMUM = np.uint32(0xFFFFFFFF)


class Permutations(NamedTuple):
    """The minimum k of a set is the least of ``factor[k] · x + offset[k]`` modulo 2³²."""

    factors: Any
    offsets: Any


class Sketches(NamedTuple):
    """Texts as :func:`klear_data.near_dup.kernels.sketch` leaves them."""

    shingles: Any
    ends: Any
    numbers: Numbers


class Representatives(NamedTuple):
    """The texts that stand for clusters.

    Attributes:
        shingles: of all of them, one after the other.
        ends: where each one's shingles end.
        numbers: of each.
        rows: which row of the input each is.
        seen_by: the last row that each was proposed to.
        following: the entry after this one in its chain, -1 at the end.
        heads: the first entry of each chain, -1 where there is none; a power of two of them.
    """

    shingles: Any
    ends: Any
    numbers: Numbers
    rows: Any
    seen_by: Any
    following: Any
    heads: Any


def make_permutations(bands: int, *, seed: int) -> Permutations:
    generator = np.random.Generator(np.random.PCG64(seed))
    factors = generator.integers(0, 2**31, size=bands * ROWS_A_BAND, dtype=np.uint32) * 2 + 1
    return Permutations(
        factors.astype(np.uint32), generator.integers(0, 2**32, size=bands * ROWS_A_BAND, dtype=np.uint32)
    )


@numba.njit(cache=True)
def minima(shingles: Any, first: int, last: int, permutations: Permutations, out: Any) -> None:
    """The MinHash of a range of shingles: ``out[k]`` is its minimum under permutation k."""
    out[:] = _NO_MINIMUM
    for at in range(first, last):
        value = np.uint32(shingles[at] >> _U32)
        for k in range(out.size):
            permuted = np.uint32(np.uint32(permutations.factors[k] * value) + permutations.offsets[k])
            out[k] = min(out[k], permuted)


@numba.njit(cache=True, inline="always")
def _chain_of(signature: Any, band: int, numbers: Any, chains: int) -> Any:
    """Which chain of the index a band belongs to."""
    at = band * ROWS_A_BAND
    pair = np.uint64(signature[at]) << _U32 | np.uint64(signature[at + 1])
    key = mix(mix(numbers + np.uint64(band)) ^ mix(pair) ^ np.uint64(signature[at + 2]))
    return np.int64(key & np.uint64(chains - 1))


@numba.njit(cache=True)
def index_all(count: int, reps: Representatives, permutations: Permutations) -> None:
    """Fill the empty index with the first ``count`` representatives."""
    signature = np.empty(permutations.factors.size, dtype=np.uint32)
    first = 0
    for rep in range(count):
        minima(reps.shingles, first, reps.ends[rep], permutations, signature)
        _add_to_index(rep, signature, reps.numbers.multiset[rep], reps)
        first = reps.ends[rep]


@numba.njit(cache=True)
def _add_to_index(rep: int, signature: Any, numbers: Any, reps: Representatives) -> None:
    bands = signature.size // ROWS_A_BAND
    for band in range(bands):
        chain = _chain_of(signature, band, numbers, reps.heads.size)
        reps.following[rep * bands + band] = reps.heads[chain]
        reps.heads[chain] = rep * bands + band


@numba.njit(cache=True)
def _common(left: Any, i: int, i_end: int, right: Any, j: int, j_end: int) -> int:
    """How many values two sorted ranges have in common."""
    count = 0
    while i < i_end and j < j_end:
        if left[i] == right[j]:
            count += 1
            i += 1
            j += 1
        elif left[i] < right[j]:
            i += 1
        else:
            j += 1
    return count


@numba.njit(cache=True)
def _first_like(
    row: int, place: int, signature: Any, sketches: Sketches, reps: Representatives, threshold: float
) -> Any:
    """The first representative that a text is a near-duplicate of (-1 if none), their Jaccard, and how many
    had to be compared."""
    first = sketches.ends[place - 1] if place else 0
    last = sketches.ends[place]
    bands = signature.size // ROWS_A_BAND
    numbers = sketches.numbers
    found, similarity, compared = -1, 0.0, 0
    for band in range(bands):
        entry = reps.heads[_chain_of(signature, band, numbers.multiset[place], reps.heads.size)]
        while entry >= 0:
            rep = entry // bands
            entry = reps.following[entry]
            if reps.numbers.multiset[rep] != numbers.multiset[place]:
                continue
            if reps.seen_by[rep] == row or 0 <= found < rep:
                continue
            reps.seen_by[rep] = row
            rep_first = reps.ends[rep - 1] if rep else 0
            size, rep_size = last - first, reps.ends[rep] - rep_first
            if min(size, rep_size) < threshold * max(size, rep_size) * (1 - 1e-9):
                continue
            same_order = reps.numbers.order[rep] == numbers.order[place]
            if not same_order and reps.numbers.around[rep] != numbers.around[place]:
                continue
            compared += 1
            common = _common(sketches.shingles, first, last, reps.shingles, rep_first, reps.ends[rep])
            jaccard = common / (size + rep_size - common)
            if jaccard >= threshold:
                found, similarity = rep, jaccard
    return found, similarity, compared


@numba.njit(cache=True)
def cluster(
    first_row: int,
    sketches: Sketches,
    reps: Representatives,
    count: int,
    permutations: Permutations,
    threshold: float,
    cluster_of: Any,
    similarity_of: Any,
) -> Any:
    """Put each text of a batch into the cluster of the first earlier representative it is like, or make it one.

    Args:
        first_row: the number of the batch's first text in the input.
        sketches: the batch.
        reps: with room for the whole batch.
        count: how many representatives there are.
        permutations: for the MinHash.
        threshold: the least Jaccard similarity of near-duplicates.
        cluster_of: filled at each text's row with its representative's row.
        similarity_of: filled at each text's row with the Jaccard similarity of the two.

    Returns:
        How many representatives there are now, and how many pairs were compared.
    """
    signature = np.empty(permutations.factors.size, dtype=np.uint32)
    compared, first = 0, 0
    for place in range(sketches.ends.size):
        row, last = first_row + place, sketches.ends[place]
        cluster_of[row], similarity_of[row] = row, 1.0
        if first == last:  # a text without tokens stands alone
            continue
        minima(sketches.shingles, first, last, permutations, signature)
        rep, similarity, pairs = _first_like(row, place, signature, sketches, reps, threshold)
        compared += pairs
        if rep >= 0:
            cluster_of[row], similarity_of[row] = reps.rows[rep], similarity
        else:
            start = reps.ends[count - 1] if count else 0
            reps.ends[count] = start + last - first
            reps.shingles[start : start + last - first] = sketches.shingles[first:last]
            reps.numbers.multiset[count] = sketches.numbers.multiset[place]
            reps.numbers.order[count] = sketches.numbers.order[place]
            reps.numbers.around[count] = sketches.numbers.around[place]
            reps.rows[count], reps.seen_by[count] = row, -1
            _add_to_index(count, signature, sketches.numbers.multiset[place], reps)
            count += 1
        first = last
    return count, compared
