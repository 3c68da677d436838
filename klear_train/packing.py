"""Packing: sequences of different lengths into rows of a fixed length that hardly waste a token.

Shapes: B rows of T tokens; N trained tokens of a batch in row order; S sequences, L the longest one's number
of trained tokens.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

PADDING = -1


@dataclass(frozen=True)
class Example:
    """One sequence to train on.

    Attributes:
        tokens: ids of the prompt and the response.
        trained: which of them carry loss; never the first, which nothing predicts.
    """

    tokens: list[int]
    trained: list[bool]

    @property
    def num_trained(self) -> int:
        return sum(self.trained)


@dataclass(frozen=True)
class Batch:
    """Packed rows and where their trained tokens are.

    Attributes:
        input_ids_BT: token ids, padded.
        position_ids_BT: restart at 0 with every sequence.
        documents_BT: index of the sequence a token belongs to, ``PADDING`` elsewhere.
        predictors_N: flat index into B·T of the position that predicts each trained token.
        targets_N: the trained tokens themselves.
        sequence_N: which sequence each belongs to, counted in the order the sequences were given.
        ordinal_N: its number among that sequence's trained tokens.
    """

    input_ids_BT: Tensor
    position_ids_BT: Tensor
    documents_BT: Tensor
    predictors_N: Tensor
    targets_N: Tensor
    sequence_N: Tensor
    ordinal_N: Tensor
    num_sequences: int

    @property
    def num_trained(self) -> int:
        return self.targets_N.numel()

    @property
    def fill(self) -> float:
        """Share of the rows that holds tokens and no padding."""
        return float((self.documents_BT != PADDING).float().mean())

    def to(self, device: torch.device) -> Batch:
        moved = {name: getattr(self, name).to(device) for name in self.__annotations__ if name != "num_sequences"}
        return Batch(**moved, num_sequences=self.num_sequences)

    def attention_mask_B1TT(self) -> Tensor:
        """True where a token may look: back, and within its own sequence."""
        T = self.documents_BT.shape[1]
        same_BTT = self.documents_BT[:, :, None] == self.documents_BT[:, None, :]
        back_TT = torch.ones(T, T, dtype=torch.bool, device=same_BTT.device).tril()
        return (same_BTT & back_TT)[:, None]

    def rows_SL(self, values_N: Tensor) -> Tensor:
        """Values of the trained tokens, one row a sequence, zeros after its end."""
        length = int(self.ordinal_N.max()) + 1 if self.num_trained else 0
        rows_SL = values_N.new_zeros(self.num_sequences, length)
        return rows_SL.index_put((self.sequence_N, self.ordinal_N), values_N)


def pack(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Best-fit decreasing: indices of ``lengths`` in bins of at most ``capacity``.

    The longest come first, each into the fullest bin it still fits. On long-tailed lengths the bins are more
    than 98% full. Deterministic; O(n log n) plus shifting in a list of open bins.

    Raises:
        ValueError: a length is larger than the capacity.
    """
    bins: list[list[int]] = []
    free: list[tuple[int, int]] = []  # (room, bin), sorted
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        length = lengths[index]
        if length > capacity:
            raise ValueError(f"pack: sequence {index} has {length} tokens; expected at most {capacity}")
        at = bisect.bisect_left(free, (length, -1))
        if at == len(free):
            room, chosen = capacity, len(bins)
            bins.append([])
        else:
            room, chosen = free.pop(at)
        bins[chosen].append(index)
        if room > length:
            bisect.insort(free, (room - length, chosen))
    return bins


def collate(examples: Sequence[Example], rows: Sequence[Sequence[int]], *, length: int, pad_id: int) -> Batch:
    """Lay out examples as packed rows.

    Args:
        examples: the sequences.
        rows: for each row, which sequences it holds (from :func:`pack`).
        length: tokens a row; the rows are cut to the fullest one, so that a short batch stays small.
        pad_id: fills the rest.
    """
    length = min(length, max((sum(len(examples[i].tokens) for i in row) for row in rows), default=0))
    ids, positions, documents = [], [], []
    predictors, targets, sequences, ordinals = [], [], [], []
    for row_number, row in enumerate(rows):
        ids_T, positions_T, documents_T = [], [], []
        for index in row:
            example, start = examples[index], row_number * length + len(ids_T)
            trained = [at for at, flag in enumerate(example.trained) if flag]
            predictors += [start + at - 1 for at in trained]
            targets += [example.tokens[at] for at in trained]
            sequences += [index] * len(trained)
            ordinals += range(len(trained))
            ids_T += example.tokens
            positions_T += range(len(example.tokens))
            documents_T += [index] * len(example.tokens)
        rest = length - len(ids_T)
        ids.append(ids_T + [pad_id] * rest)
        positions.append(positions_T + list(range(rest)))
        documents.append(documents_T + [PADDING] * rest)
    return Batch(
        *(torch.tensor(v, dtype=torch.long) for v in (ids, positions, documents)),
        *(torch.tensor(v, dtype=torch.long) for v in (predictors, targets, sequences, ordinals)),
        num_sequences=len(examples),
    )
