"""Packing: sequences of different lengths into rows of a fixed number of tokens that hardly waste one.

A row is a budget, not a shape: a batch is its sequences laid end to end, without padding, and attention is told
where each begins. Shapes: T tokens of a batch; S its sequences; N its trained tokens, in the order of the
sequences; L the largest number of trained tokens of one sequence.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Example:
    """One sequence to train on.

    Attributes:
        tokens: ids of the prompt and the response; a sequence of ints or an integer array.
        trained: which of them carry loss; never the first, which nothing predicts.
    """

    tokens: Any
    trained: Any

    @property
    def num_trained(self) -> int:
        return int(np.count_nonzero(self.trained))


@dataclass(frozen=True)
class Documents:
    """Where the sequences of a batch lie: all that attention needs to keep them apart.

    Attributes:
        lengths: tokens of each sequence.
        offsets: (S + 1,), int32: where each begins, and where the last ends.
        longest: the largest length.
    """

    lengths: tuple[int, ...]
    offsets: Tensor
    longest: int


@dataclass(frozen=True)
class Batch:
    """Sequences laid end to end and where their trained tokens are.

    Attributes:
        input_ids_T: token ids.
        position_ids_T: restart at 0 with every sequence.
        predictors_N: the position that predicts each trained token.
        targets_N: the trained tokens themselves.
        sequence_N: which sequence each belongs to.
        ordinal_N: its number among that sequence's trained tokens.
        documents: where the sequences lie.
    """

    input_ids_T: Tensor
    position_ids_T: Tensor
    predictors_N: Tensor
    targets_N: Tensor
    sequence_N: Tensor
    ordinal_N: Tensor
    documents: Documents

    @property
    def num_tokens(self) -> int:
        return self.input_ids_T.numel()

    @property
    def num_trained(self) -> int:
        return self.targets_N.numel()

    @property
    def num_sequences(self) -> int:
        return len(self.documents.lengths)

    def to(self, device: torch.device | str) -> Batch:
        def moved(part: Any) -> dict[str, Any]:
            values = {field.name: getattr(part, field.name) for field in fields(part)}
            return {name: v.to(device) if isinstance(v, Tensor) else v for name, v in values.items()}

        return Batch(**{**moved(self), "documents": Documents(**moved(self.documents))})

    def rows_SL(self, values_N: Tensor) -> Tensor:
        """Values of the trained tokens, one row a sequence, zeros after its end."""
        length = int(self.ordinal_N.max()) + 1 if self.num_trained else 0
        rows_SL = values_N.new_zeros(self.num_sequences, length)
        return rows_SL.index_put((self.sequence_N, self.ordinal_N), values_N)


def collate(examples: Sequence[Example]) -> Batch:
    """Lay examples end to end, in the order given.

    Raises:
        ValueError: no examples, an empty one, or one whose first token is trained.
    """
    if not examples:
        raise ValueError("collate: no examples; expected at least one")
    tokens_T = np.concatenate([np.asarray(example.tokens, dtype=np.int64) for example in examples])
    trained_T = np.concatenate([np.asarray(example.trained, dtype=bool) for example in examples])
    lengths_S = np.array([len(example.tokens) for example in examples], dtype=np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths_S)])
    if lengths_S.min() == 0 or trained_T[offsets[:-1]].any():
        raise ValueError("collate: an example is empty or trains its first token; expected a token that predicts it")
    position_N = np.flatnonzero(trained_T)
    sequence_N = np.repeat(np.arange(len(examples)), lengths_S)[position_N]
    before_S = np.concatenate([[0], np.cumsum(trained_T)])[offsets[:-1]]  # trained tokens before each sequence
    documents = Documents(
        tuple(lengths_S.tolist()), torch.from_numpy(offsets.astype(np.int32)), longest=int(lengths_S.max())
    )
    return Batch(
        input_ids_T=torch.from_numpy(tokens_T),
        position_ids_T=torch.from_numpy(np.arange(len(tokens_T)) - np.repeat(offsets[:-1], lengths_S)),
        predictors_N=torch.from_numpy(position_N - 1),
        targets_N=torch.from_numpy(tokens_T[position_N]),
        sequence_N=torch.from_numpy(sequence_N),
        ordinal_N=torch.from_numpy(np.arange(len(position_N)) - before_S[sequence_N]),
        documents=documents,
    )


def pack(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Best-fit decreasing: indices of ``lengths`` in bins of at most ``capacity``.

    The longest come first, each into the fullest bin it still fits. On long-tailed lengths the bins are more
    than 98% full. Deterministic; how many bins there are depends on the lengths alone, not on their order.

    Raises:
        ValueError: a length is larger than the capacity.
    """
    bins: list[list[int]] = []
    open_bins: dict[int, list[int]] = {}  # by the room they have left
    rooms: list[int] = []  # the keys of open_bins, sorted: at most ``capacity`` of them
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")
    for index in order.tolist():
        length = int(lengths[index])
        if length > capacity:
            raise ValueError(f"pack: sequence {index} has {length} tokens; expected at most {capacity}")
        at = bisect.bisect_left(rooms, length)
        if at == len(rooms):
            room, chosen = capacity, len(bins)
            bins.append([])
        else:
            room = rooms[at]
            chosen = open_bins[room].pop()
            if not open_bins[room]:
                del open_bins[room], rooms[at]
        bins[chosen].append(index)
        left = room - length
        if left:
            if left not in open_bins:
                open_bins[left] = []
                bisect.insort(rooms, left)
            open_bins[left].append(chosen)
    return bins
