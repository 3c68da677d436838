"""Hashed TF-IDF with a fixed sparse random projection, from code points to unit vectors."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from klear_data.near_dup.kernels import class_of, mix

_OFFSET = np.uint64(0xCBF29CE484222325)
_PRIME = np.uint64(0x100000001B3)
_WORD, _CJK, _DIGIT = np.uint8(1), np.uint8(2), np.uint8(4)
_ZERO = np.uint64(48)
_U32 = np.uint64(32)


@numba.njit(cache=True)
def features(points: Any, ends: Any, classes: Any, out: Any, out_ends: Any) -> int:
    """The words of texts as 32-bit hashes, each text's sorted; returns how many.

    A run of digits counts as one digit: which numbers a problem has says little about what it is like.
    """
    written, start = 0, 0
    for row in range(ends.size):
        end, at = ends[row], start
        while at < end:
            if not class_of(classes, points[at]) & (_WORD | _CJK):
                at += 1
                continue
            token, first = _OFFSET, at
            while at < end:
                kind = class_of(classes, points[at])
                if (kind & _CJK and at > first) or not kind & (_WORD | _CJK):
                    break
                if kind & _DIGIT:
                    if at == first or not class_of(classes, points[at - 1]) & _DIGIT:
                        token = (token ^ _ZERO) * _PRIME
                else:
                    token = (token ^ np.uint64(points[at])) * _PRIME
                at += 1
                if kind & _CJK:
                    break
            out[written] = np.uint32(mix(token) >> _U32)
            written += 1
        out[out_ends[row - 1] if row else 0 : written].sort()
        out_ends[row] = written
        start = end
    return written


@numba.njit(cache=True)
def count_documents(found: Any, ends: Any, documents: Any) -> None:
    """Add to each bucket how many texts have a feature of it (features that share a bucket count together)."""
    mask = np.uint32(documents.size - 1)
    start = 0
    for row in range(ends.size):
        for at in range(start, ends[row]):
            if at == start or found[at] != found[at - 1]:
                documents[found[at] & mask] += 1
        start = ends[row]


@numba.njit(cache=True)
def project(found: Any, ends: Any, idf: Any, seed: int, per_feature: int, vectors: Any) -> None:
    """Add up each text's features, weighted (1 + ln count) · idf, and scale to length 1.

    A feature is a vector of ``per_feature`` ones and minus ones at places drawn from its hash; places may meet.
    """
    mask = np.uint32(idf.size - 1)
    dimensions = np.uint64(vectors.shape[1])
    start = 0
    for row in range(ends.size):
        vector = vectors[row]
        vector[:] = 0
        at = start
        while at < ends[row]:
            feature, count = found[at], 0
            while at < ends[row] and found[at] == feature:
                count += 1
                at += 1
            weight = np.float32((1.0 + np.log(count)) * idf[feature & mask])
            state = mix(np.uint64(feature) + np.uint64(seed))
            for _ in range(per_feature):
                state = mix(state + np.uint64(0x9E3779B97F4A7C15))
                place = (state >> np.uint64(1)) % dimensions
                if state & np.uint64(1):
                    vector[place] += weight
                else:
                    vector[place] -= weight
        length = np.float32(np.sqrt((vector * vector).sum()))
        if length > 0:
            vector /= length
        start = ends[row]
