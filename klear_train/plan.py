"""Which examples make which optimizer step: a function of lengths, settings and seed, so nothing of it is saved.

Shapes of lists: an epoch is its steps, a step its packed rows, a row the numbers of its examples.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from klear_train.packing import pack
from klear_train.settings import SFTConfig

Row = list[int]


@dataclass(frozen=True)
class Plan:
    """All optimizer steps of a run.

    Attributes:
        lengths: tokens of each example.
        config: its ``pack_tokens``, ``rows_per_step``, ``epochs``, ``max_steps`` and ``seed`` decide.
    """

    lengths: Sequence[int] | Any = field(repr=False)
    config: SFTConfig

    @cached_property
    def rows_per_epoch(self) -> int:
        return len(pack(self.lengths, self.config.pack_tokens))

    @property
    def steps_per_epoch(self) -> int:
        """The same in every epoch: how many rows packing makes depends on the lengths, not on their order."""
        return -(-self.rows_per_epoch // self.config.rows_per_step)

    @property
    def available(self) -> int:
        """Steps of all epochs."""
        return self.steps_per_epoch * self.config.epochs

    @property
    def total(self) -> int:
        """Steps of the run: of all epochs, or ``max_steps`` if that comes first."""
        return min(self.available, self.config.max_steps or self.available)

    @property
    def fill(self) -> float:
        """Share of the packed rows that holds tokens."""
        return float(sum(map(int, self.lengths))) / (self.rows_per_epoch * self.config.pack_tokens)

    def epoch(self, number: int) -> list[list[Row]]:
        """The steps of an epoch (from 0): every example once, in an order of its own."""
        rng = random.Random(f"{self.config.seed}/{number}")
        order = list(range(len(self.lengths)))
        rng.shuffle(order)
        bins = pack([int(self.lengths[i]) for i in order], self.config.pack_tokens)
        rng.shuffle(bins)
        rows = [[order[at] for at in packed] for packed in bins]
        size = self.config.rows_per_step
        return [rows[start : start + size] for start in range(0, len(rows), size)]

    def steps(self, start: int = 0) -> Iterator[tuple[int, int, list[Row]]]:
        """(step, epoch, rows) from step ``start`` (from 0) to the end of the run."""
        step = start
        for number in range(start // self.steps_per_epoch, self.config.epochs):
            for rows in self.epoch(number)[step % self.steps_per_epoch :]:
                if step == self.total:
                    return
                yield step, number, rows
                step += 1


def micro_batches(rows: Sequence[Row], size: int, *, rank: int, processes: int) -> list[list[int]]:
    """The examples of each micro-batch of one process: its share of the rows, ``size`` rows at a time.

    Every process gets as many, the last ones empty where rows are few, so that their collective calls match.

    >>> [micro_batches([[0, 1], [2], [3], [4], [5]], 2, rank=rank, processes=2) for rank in (0, 1)]
    [[[0, 1, 3], [5]], [[2, 4], []]]
    """
    own = rows[rank::processes]
    most = -(-len(rows) // processes)
    return [[i for row in own[start : start + size] for i in row] for start in range(0, most, size)]
