"""Vectors of texts without a model: hashed TF-IDF of their words, through a fixed sparse random projection.

A text's weight for a word is (1 + ln count) · (ln((1 + texts) / (1 + texts with it)) + 1). Each word stands for
eight of the 256 coordinates, plus or minus, drawn from its hash and a seed that never changes; the sum is scaled
to length 1. Words are as in near-duplicate search, each run of digits as one digit. So the same texts give the
same vectors on every machine, and distances are those of TF-IDF up to the noise of 256 coordinates.
"""

from __future__ import annotations

from typing import Any

DIMENSIONS = 256
PLACES_A_WORD = 8
PROJECTION_SEED = 20250812
_BUCKETS = 1 << 20


class HashedTfidf:
    """Collects texts, then makes their vectors: 4 bytes a word until then, and 1 KiB a text."""

    name = f"hashed TF-IDF, {DIMENSIONS} dimensions"

    def __init__(self) -> None:
        self._batches: list[tuple[Any, Any]] = []
        self._documents: Any = None
        self._count = 0

    def add(self, texts: list[str]) -> None:
        """Take further texts, after :func:`klear_data.text.normalise`."""
        import numpy as np

        from klear_data.near_dup.kernels import code_points, make_tables
        from klear_data.select.hashed.kernels import count_documents, features

        if self._documents is None:
            self._documents = np.zeros(_BUCKETS, dtype=np.int64)
        points, ends = code_points(texts)
        found, found_ends = np.empty(points.size, dtype=np.uint32), np.empty(len(texts), dtype=np.int64)
        written = features(points, ends, make_tables().classes, found, found_ends)
        found = found[:written].copy()
        count_documents(found, found_ends, self._documents)
        self._batches.append((found, found_ends))
        self._count += len(texts)

    def vectors(self) -> Any:
        """One row a text, float32, of length 1 (0 for a text without words)."""
        import numpy as np

        from klear_data.select.hashed.kernels import project

        result = np.empty((self._count, DIMENSIONS), dtype=np.float32)
        if not self._count:
            return result
        idf = np.log((1 + self._count) / (1 + self._documents)) + 1
        done = 0
        for found, ends in self._batches:
            project(found, ends, idf, PROJECTION_SEED, PLACES_A_WORD, result[done : done + ends.size])
            done += ends.size
        return result
