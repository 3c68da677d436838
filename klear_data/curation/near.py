"""The last step of ``--dedup near``: of the records that would go on, those that nearly repeat an earlier one go.

So ``--dedup near`` gives what ``--dedup exact`` and then ``--dedup near`` on its output gives.
"""

from __future__ import annotations

import os
import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import Any

from klear_data.jsonl import glance
from klear_data.near_dup import NearDuplicates
from klear_data.records import Record
from klear_data.stage import Drop, Lines
from klear_data.text import normalise_many, prompt_text

_ROWS = 1000


class NearFilter:
    """Waits for all records, in a temporary file, then hands on the representatives of their clusters.

    Args:
        threshold: the least Jaccard similarity of near-duplicates.
        on_drop: told of each record that goes.
    """

    def __init__(self, threshold: float, on_drop: Callable[[Record], None]) -> None:
        self._near = NearDuplicates(threshold)
        self._on_drop = on_drop

    def run(self, outcomes: Iterable[Lines | Drop], where: Callable[[int], str]) -> Iterator[Lines | Drop]:
        """The outcomes with near-duplicates among the drops; records keep their order.

        Args:
            outcomes: of all rows.
            where: the place of the n-th record that stays, asked when the last outcome has come.
        """
        with tempfile.TemporaryFile() as file:
            offsets = array("q", [0])
            for outcome in outcomes:
                if isinstance(outcome, Drop):
                    yield outcome
                    continue
                lines = [line + b"\n" for line in outcome.data.split(b"\n")[:-1]]
                self._near.add_many(normalise_many([prompt_text(glance(line)["prompt"]) for line in lines]))
                file.write(outcome.data)
                offsets.extend(accumulate(map(len, lines), initial=offsets.pop()))
            file.flush()
            descriptor = file.fileno()

            def line(row: int) -> bytes:
                return os.pread(descriptor, offsets[row + 1] - offsets[row], offsets[row])

            clusters, similarities = self._near.clusters(), self._near.similarities()
            kept: list[bytes] = []
            for row, representative in enumerate(clusters):
                if row == representative:
                    kept.append(line(row))
                    if len(kept) == _ROWS:
                        yield Lines(b"".join(kept), len(kept))
                        kept = []
                    continue
                self._on_drop(glance(line(row)))
                of = glance(line(representative))["id"]
                evidence = {"where": where(row), "of": of, "of_where": where(representative)}
                yield Drop({}, "near_duplicate", {**evidence, "similarity": round(similarities[row], 3)}, line(row))
            yield Lines(b"".join(kept), len(kept))

    def notes(self) -> dict[str, Any]:
        return self._near.notes()
