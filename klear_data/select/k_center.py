"""K-Center greedy (Sener & Savarese 2018, algorithm 1; Gonzalez 1985): always take the farthest row next.

The rows chosen so far cover the others within the distance of the next pick, at most twice what the best
choice of as many rows could do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Covering:
    """What K-Center chose.

    Attributes:
        order: the rows, in the order they were picked.
        distances: of each pick to the nearest centre before it (infinite for a first without any); they fall.
        near: distance of every row to its nearest centre, 0 for chosen ones.
        nearest: which centre that is: a place in ``order``, or ``-1 − row`` of the warm start.
    """

    order: Any
    distances: Any
    near: Any
    nearest: Any


def k_center(vectors: Any, k: int, *, first: int = 0, warm_start: Any = None) -> Covering:
    """Choose k rows, each the farthest from those before; of equally far ones the first in the input.

    Args:
        vectors: float32, rows × dimensions, finite.
        k: how many to choose; at most all rows.
        first: the row to begin with, if there is no warm start.
        warm_start: vectors of centres that are chosen already.

    The result is that of the plain greedy in float64. Memory: the vectors, a block of 2048 × 2048 float32 and
    28 bytes a row. Time: about one float32 product of rows × k × dimensions.
    """
    import numpy as np

    from klear_data.select.kernels import BLOCK, farthest_block, lower_all, pick, product_slack, squared_norms

    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    n = len(vectors)
    k = min(k, n)
    norms = squared_norms(vectors)
    near, nearest = np.full(n, np.inf), np.zeros(n, dtype=np.int64)
    order, distances = np.empty(k, dtype=np.int64), np.empty(k)
    warm = 0 if warm_start is None else len(warm_start)
    if warm:
        centres = np.ascontiguousarray(warm_start, dtype=np.float32)
        for start in range(0, warm, BLOCK):
            part = centres[start : start + BLOCK]
            lower_all(vectors, norms, part, squared_norms(part), start, near, nearest)
    elif k:
        near[first] = np.finfo(np.float64).max  # farther than any, and finite: infinity less infinity is no number
    slack, done = product_slack(norms, vectors.shape[1]), 0
    while done < k:
        rows, bound, bound_row = farthest_block(near, BLOCK)
        if not (done or warm):
            rows, bound = np.array([first]), -np.inf
        block = vectors[rows]
        picked, picked_distances = np.empty(len(rows), dtype=np.int64), np.empty(len(rows))
        count = pick(
            rows, vectors, block @ block.T, norms, slack, bound, bound_row, k - done, near[rows], picked,
            picked_distances,
        )  # fmt: skip
        new = rows[picked[:count]]
        order[done : done + count], distances[done : done + count] = new, picked_distances[:count]
        near[new], nearest[new] = -1.0, warm + done + np.arange(count)
        lower_all(vectors, norms, vectors[new], norms[new], warm + done, near, nearest)
        done += count
    if k and not warm:
        distances[0] = np.inf
    nearest = np.where(nearest < warm, -1 - nearest, nearest - warm)
    return Covering(order, np.sqrt(distances), np.sqrt(np.maximum(near, 0.0)), nearest)
