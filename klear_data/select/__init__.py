"""Choose k of the records: spread out over all there are (K-Center), at random, each over strata if asked."""

from __future__ import annotations

import hashlib
import math
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from klear_data.records import Record
from klear_data.select.quotas import equal, proportional

Method = Literal["k-center", "random"]
Quota = Literal["proportional", "equal"]


@dataclass(frozen=True)
class SelectOptions:
    """What to choose.

    Attributes:
        k: how many records, besides those of a warm start.
        method: ``k-center`` takes the farthest from those chosen next, ``random`` draws.
        stratify: dotted keys; records with the same values there are a stratum with a quota of its own.
        quota: how the strata share k.
        seed: of the draw, and of the record that K-Center begins with.
    """

    k: int
    method: Method = "k-center"
    stratify: tuple[str, ...] = ()
    quota: Quota = "proportional"
    seed: int = 0


@dataclass
class Rows:
    """What is remembered of each record: its stratum, and its number in the draw."""

    options: SelectOptions
    strata: array[int] = field(default_factory=lambda: array("I"))
    draws: array[int] = field(default_factory=lambda: array("Q"))
    names: dict[str, int] = field(default_factory=dict)
    keys_found: set[str] = field(default_factory=set)

    def add(self, record: Record) -> None:
        name = stratum_of(record, self.options.stratify)
        if len(self.keys_found) < len(self.options.stratify):
            self.keys_found.update(key for key in self.options.stratify if _value(record, key) is not None)
        self.strata.append(self.names.setdefault(name, len(self.names)))
        self.draws.append(draw(record["id"], seed=self.options.seed))


@dataclass(frozen=True)
class Choice:
    """What was chosen.

    Attributes:
        chosen: a byte a row, 1 for chosen.
        strata: of each name how many there were and how many are chosen.
        distances: of each row to the nearest chosen one of its stratum; ``None`` where none was measured.
        nearest: the row of that, ``-1 − row`` for one of the warm start.
    """

    chosen: bytearray
    strata: dict[str, dict[str, int]]
    distances: Any = None
    nearest: Any = None

    @property
    def radius(self) -> float | None:
        """The largest distance of a record to the nearest chosen one, None where there is none for some."""
        if self.distances is None or not len(self.distances) or math.isinf(self.distances.max()):
            return None
        return float(self.distances.max())


def stratum_of(record: Record, keys: Sequence[str]) -> str:
    """The values of some dotted keys, for a person to read; ``null`` for what is missing.

    >>> stratum_of({"ability": "math", "extra_info": {"level": 5}}, ["ability", "extra_info.level", "difficulty.label"])
    'math/5/null'
    """
    values = (_value(record, key) for key in keys)
    return "/".join("null" if value is None else str(value) for value in values)


def _value(record: Record, key: str) -> Any:
    value: Any = record
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def draw(record_id: str, *, seed: int) -> int:
    """A record's number in the draw, 64 bits of a hash: whatever the order of the input, the lowest are drawn."""
    digest = hashlib.sha256(f"{seed}:{record_id}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big")


def choose(rows: Rows, *, vectors: Callable[[], tuple[Any, Any]] | None = None) -> Choice:
    """Fill the quota of each stratum by the method.

    Args:
        rows: the records, in the order of the input.
        vectors: gives a vector of each row and those of the warm start or None; asked for by K-Center only.
    """
    options, count = rows.options, len(rows.strata)
    sizes = Counter(rows.strata)
    share = equal if options.quota == "equal" else proportional
    quotas = share([sizes[number] for number in rows.names.values()], options.k)
    table = {name: {"in": sizes[number], "out": quotas[number]} for name, number in sorted(rows.names.items())}
    chosen = bytearray(count)
    if options.method == "random":
        left = list(quotas)
        for row in sorted(range(count), key=lambda row: (rows.draws[row], row)):
            if left[rows.strata[row]]:
                left[rows.strata[row]] -= 1
                chosen[row] = 1
        return Choice(chosen, table)
    assert vectors is not None
    distances, nearest = _spread_out(rows, quotas, *vectors(), chosen)
    return Choice(chosen, table, distances, nearest)


def _spread_out(rows: Rows, quotas: list[int], vectors: Any, warm: Any, chosen: bytearray) -> tuple[Any, Any]:
    """K-Center in each stratum, around the centres of the warm start and its own."""
    import numpy as np

    from klear_data.select.k_center import k_center

    strata, draws = np.frombuffer(rows.strata, dtype=np.uint32), np.frombuffer(rows.draws, dtype=np.uint64)
    distances, nearest = np.zeros(len(strata)), np.zeros(len(strata), dtype=np.int64)
    for number, quota in enumerate(quotas):
        members = np.flatnonzero(strata == number)
        own = vectors if len(members) == len(strata) else vectors[members]
        found = k_center(own, quota, first=int(np.argmin(draws[members])), warm_start=warm)
        order = members[found.order]
        for row in order.tolist():
            chosen[row] = 1
        distances[members] = found.near
        centres = order if order.size else members[:1]
        nearest[members] = np.where(found.nearest < 0, found.nearest, centres[np.maximum(found.nearest, 0)])
    return distances, nearest
