"""Which prompts an RL step takes: an endless shuffle, decided by the seed and the number of prompts taken before."""

from __future__ import annotations

import random
from typing import Any


def take(records: list[dict[str, Any]], start: int, count: int, *, seed: int) -> list[dict[str, Any]]:
    """Records number ``start`` to ``start + count`` of an endless shuffle, none of them twice."""
    chosen: dict[str, dict[str, Any]] = {}
    orders: dict[int, list[int]] = {}
    for position in range(start, start + min(count, len(records))):
        epoch, at = divmod(position, len(records))
        if epoch not in orders:
            orders[epoch] = list(range(len(records)))
            random.Random(f"{seed}/{epoch}").shuffle(orders[epoch])
        record = records[orders[epoch][at]]
        chosen.setdefault(record["id"], record)
    return list(chosen.values())
