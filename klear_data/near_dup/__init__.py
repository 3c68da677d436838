"""Near-duplicates of short prompts: clusters against a representative, found by MinHash, judged exactly.

What counts as one is said, and written out in plain Python, in :mod:`klear_data.near_dup.definition`. A text
joins the **first earlier representative** that it is a near-duplicate of, else it becomes a representative;
so the outcome depends on the order of the texts and on nothing else. Each verdict is an exact Jaccard
similarity; the MinHash index only proposes pairs, and at the threshold itself it overlooks one in a hundred.

In memory are kept, of each representative, 8 bytes a shingle and some 200 to 300 more, and 8 bytes of each text:
about 600 bytes for a prompt of 35 words (574 MiB for a million of them).
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import Any

from klear_data.errors import UsageError
from klear_data.near_dup.definition import SHINGLES
from klear_data.near_dup.lsh import ROWS_A_BAND, bands_for

DEFAULT_THRESHOLD = 0.7
LOWEST_THRESHOLD = 0.5
_BATCH_TEXTS = 4096
_BATCH_CHARACTERS = 1 << 20
_FIRST_CHAINS = 1 << 16
_GROWTH = 1.3


class NearDuplicates:
    """Collects texts and clusters them.

    >>> near = NearDuplicates()
    >>> near.add_many(["tom has 3 red apples. how many pies can he bake?", "what is 2 + 2?",
    ...                "tom has 3 red apples. how many pies can he bake now?",
    ...                "tom has 4 red apples. how many pies can he bake?"])
    >>> near.clusters().tolist()
    [0, 1, 0, 3]

    Args:
        threshold: the least Jaccard similarity of near-duplicates, from 0.5 to 1.
        seed: of the MinHash; it decides which of the rare pairs at the threshold are overlooked.

    Raises:
        UsageError: a threshold out of that range.
    """

    def __init__(self, threshold: float = DEFAULT_THRESHOLD, *, seed: int = 0) -> None:
        if not LOWEST_THRESHOLD <= threshold <= 1:
            raise UsageError(
                f"near-duplicates: threshold {threshold}; expected {LOWEST_THRESHOLD} to 1; below that most pairs "
                f"are problems of one kind and not one problem"
            )
        self.threshold = threshold
        self._seed = seed
        self._waiting: list[str] = []
        self._waiting_characters = 0
        self._store: _Store | None = None

    def __len__(self) -> int:
        return len(self._waiting) + (0 if self._store is None else self._store.texts)

    def add(self, text: str) -> None:
        """Take the next text, after :func:`klear_data.text.normalise`."""
        self._waiting.append(text)
        self._waiting_characters += len(text)
        if len(self._waiting) >= _BATCH_TEXTS or self._waiting_characters >= _BATCH_CHARACTERS:
            self._flush()

    def add_many(self, texts: Iterable[str]) -> None:
        """Take further texts; in which batches they come makes no difference."""
        for text in texts:
            self.add(text)

    def clusters(self) -> array[int]:
        """Of each text so far the number of the text that represents it: its own, or an earlier one's."""
        return self._flushed().clusters()

    def similarities(self) -> array[float]:
        """Of each text so far its Jaccard similarity with its representative (1 with itself)."""
        return self._flushed().similarities()

    def notes(self) -> dict[str, Any]:
        """What was done, for the stage's report."""
        store = self._flushed()
        return {
            "shingles": SHINGLES,
            "threshold": self.threshold,
            "bands": f"{bands_for(self.threshold)} of {ROWS_A_BAND}",
            "texts": store.texts,
            "representatives": store.count,
            "pairs_compared": store.compared,
        }

    def _flush(self) -> None:
        if self._store is None:
            self._store = _Store(self.threshold, seed=self._seed)
        self._store.take(self._waiting)
        self._waiting = []
        self._waiting_characters = 0

    def _flushed(self) -> _Store:
        if self._store is None or self._waiting:
            self._flush()
        assert self._store is not None
        return self._store


class _Store:
    """The arrays behind :class:`NearDuplicates`; made with the first batch, since numba takes its time to load."""

    def __init__(self, threshold: float, *, seed: int) -> None:
        import numpy as np

        from klear_data.near_dup.kernels import Numbers, make_tables
        from klear_data.near_dup.lsh.kernels import Representatives, make_permutations

        self.threshold = threshold
        self.texts = self.count = self.compared = 0
        self._bands = bands_for(threshold)
        self._tables = make_tables()
        self._permutations = make_permutations(self._bands, seed=seed)
        self._cluster_of = np.empty(0, dtype=np.int32)
        self._similarity_of = np.empty(0, dtype=np.float32)
        self._reps = Representatives(
            shingles=np.empty(0, dtype=np.uint64),
            ends=np.empty(0, dtype=np.int64),
            numbers=Numbers(*(np.empty(0, dtype=np.uint64) for _ in Numbers._fields)),
            rows=np.empty(0, dtype=np.int32),
            seen_by=np.empty(0, dtype=np.int32),
            following=np.empty(0, dtype=np.int32),
            heads=np.full(_FIRST_CHAINS, -1, dtype=np.int32),
        )

    def take(self, texts: list[str]) -> None:
        """Cluster one batch."""
        import numpy as np

        from klear_data.near_dup.kernels import Numbers, code_points, sketch
        from klear_data.near_dup.lsh.kernels import Sketches, cluster

        if not texts:
            return
        points, ends = code_points(texts)
        shingles, shingle_ends = np.empty(points.size, dtype=np.uint64), np.empty(len(texts), dtype=np.int64)
        numbers = Numbers(*(np.empty(len(texts), dtype=np.uint64) for _ in Numbers._fields))
        written = sketch(points, ends, self._tables, shingles, shingle_ends, numbers)
        self._make_room(len(texts), written)
        self.count, compared = cluster(
            self.texts,
            Sketches(shingles, shingle_ends, numbers),
            self._reps,
            self.count,
            self._permutations,
            self.threshold,
            self._cluster_of,
            self._similarity_of,
        )
        self.texts += len(texts)
        self.compared += int(compared)

    def _make_room(self, texts: int, shingles: int) -> None:
        """Let every array hold one more batch, even if each text of it becomes a representative."""
        import numpy as np

        from klear_data.near_dup.lsh.kernels import index_all

        reps, count = self._reps, self.count + texts
        last = int(reps.ends[self.count - 1]) if self.count else 0
        sizes = [(reps.shingles, last + shingles), (reps.following, count * self._bands)]
        sizes += [(one, count) for one in (reps.ends, *reps.numbers, reps.rows, reps.seen_by)]
        sizes += [(one, self.texts + texts) for one in (self._cluster_of, self._similarity_of)]
        for values, size in sizes:
            if values.size < size:  # in place: growing by a copy would hold both for a while
                values.resize(int(size * _GROWTH), refcheck=False)
        if reps.heads.size < count * self._bands:
            chains = 1 << (count * self._bands - 1).bit_length()
            self._reps = reps._replace(heads=np.full(chains, -1, dtype=np.int32))
            index_all(self.count, self._reps, self._permutations)

    def clusters(self) -> array[int]:
        return array("i", self._cluster_of[: self.texts].tobytes())

    def similarities(self) -> array[float]:
        return array("f", self._similarity_of[: self.texts].tobytes())
