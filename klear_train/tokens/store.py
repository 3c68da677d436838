"""The files of a token store and how they are read.

``tokens.bin``
    Every example's tokens end to end, int32. A token that carries loss is stored as its complement (``~id``, which
    is negative), so one file holds tokens and loss mask.
``lengths.npy``, ``trained.npy``, ``records.npy``
    int64, one entry an example: its tokens, those of them that carry loss, and the number of its record, from 0.
``store.json``
    What it was built from (:class:`Origin`), the counts, the largest token.

Nothing of an example is in memory until it is asked for, and then the system may drop its pages again.
"""

from __future__ import annotations

import json
import os
import shutil
from array import array
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from klear_data.errors import UsageError, unwritable

if TYPE_CHECKING:
    from klear_train.packing import Example

META, TOKENS = "store.json", "tokens.bin"
COLUMNS = ("lengths", "trained", "records")


@dataclass(frozen=True)
class Origin:
    """What a store was built from: two stores of one origin hold the same bytes.

    Attributes:
        settings: digest of tokenizer, template and whatever else decides what becomes of a record.
        data: digest of the records' messages, in order.
        stamp: what stands for the data where nobody wants to read it again: path, size, time of the file.
    """

    settings: str
    data: str
    stamp: str | None = None


@dataclass(frozen=True)
class TokenStore:
    """Tokenised examples on disk.

    Attributes:
        folder: where its files are.
        lengths: tokens of each example.
        trained: those that carry loss; at least one.
        records: number of the record each comes from, in the order of the data, from 0.
        counts: records read, examples, overlong, untrained (nothing left to learn from), tokens, trained_tokens.
        largest_token: the largest id.
        origin: what it was built from.
    """

    folder: Path
    lengths: NDArray[np.int64]
    trained: NDArray[np.int64]
    records: NDArray[np.int64]
    counts: dict[str, int]
    largest_token: int
    origin: Origin
    _starts: NDArray[np.int64] = field(repr=False)
    _tokens: NDArray[np.int32] = field(repr=False)

    def __len__(self) -> int:
        return len(self.lengths)

    def example(self, index: int) -> Example:
        """Example ``index`` (from 0): tokens as int32, trained as bool, both (T,)."""
        from klear_train.packing import Example

        start = int(self._starts[index])
        stored = self._tokens[start : start + int(self.lengths[index])]
        trained = stored < 0
        return Example(np.where(trained, ~stored, stored), trained)


def open_token_store(folder: str | Path) -> TokenStore:
    """A store that :func:`klear_train.tokens.build_token_store` has written.

    Raises:
        UsageError: there is none in the folder, or a file of it is damaged.
    """
    path = Path(folder)
    try:
        meta = json.loads((path / META).read_text(encoding="utf-8"))
        columns = {name: np.load(path / f"{name}.npy", mmap_mode="r") for name in COLUMNS}
        tokens = np.memmap(path / TOKENS, dtype=np.int32, mode="r")
        counts: dict[str, int] = meta["counts"]
        if len(tokens) != counts["tokens"]:
            raise ValueError(f"{TOKENS} holds {len(tokens)} tokens, not {counts['tokens']}")
        origin = Origin(**meta["origin"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{path}: no token store that can be read ({error}); expected what tokenising leaves; remove the folder "
            "and start again without --resume"
        ) from error
    starts = np.cumsum(columns["lengths"]) - columns["lengths"]
    return TokenStore(path, **columns, counts=counts, largest_token=meta["largest_token"], origin=origin,
                      _starts=starts, _tokens=tokens)  # fmt: skip


def check_vocabulary(store: TokenStore, size: int) -> None:
    """Raise UsageError if a token lies outside a model's vocabulary of ``size`` entries."""
    if store.largest_token >= size:
        raise UsageError(
            f"{store.folder}: the data holds token {store.largest_token}, the model embeds {size}; expected ids below "
            "that; use the model's own tokenizer"
        )


class StoreWriter:
    """Writes a store example by example; it appears in its place when it is closed, and not before."""

    def __init__(self, folder: Path) -> None:
        self._target, self._half = folder, folder.with_name(f".writing_{folder.name}")
        self._columns = {name: array("q") for name in COLUMNS}
        shutil.rmtree(self._half, ignore_errors=True)
        self._tokens: IO[bytes] | None = None
        try:
            self._half.mkdir(parents=True)
            self._tokens = (self._half / TOKENS).open("wb")
        except OSError as error:
            raise unwritable(folder, error) from error

    def add(self, tokens: bytes, lengths: list[int], trained: list[int], records: list[int]) -> None:
        """Some examples, as they stand in the files.

        Raises:
            UsageError: they can't be written, say to a full disk.
        """
        assert self._tokens is not None
        try:
            self._tokens.write(tokens)
        except OSError as error:
            raise unwritable(self._target, error) from error
        for name, values in zip(COLUMNS, (lengths, trained, records), strict=True):
            self._columns[name].extend(values)

    def totals(self) -> tuple[int, int, int]:
        """Examples, tokens, trained tokens so far."""
        lengths, trained = (np.frombuffer(self._columns[name], dtype=np.int64) for name in COLUMNS[:2])
        return len(lengths), int(lengths.sum()), int(trained.sum())

    def close(self, *, origin: Origin, counts: dict[str, int], largest_token: int) -> TokenStore:
        assert self._tokens is not None
        meta: dict[str, Any] = {"origin": asdict(origin), "counts": counts, "largest_token": largest_token}
        try:
            _sync(self._tokens)
            self._tokens.close()
            for name, values in self._columns.items():
                with (self._half / f"{name}.npy").open("wb") as column:
                    np.save(column, np.frombuffer(values, dtype=np.int64))
                    _sync(column)
            with (self._half / META).open("w", encoding="utf-8") as file:
                file.write(json.dumps(meta, indent=1) + "\n")
                _sync(file)
            shutil.rmtree(self._target, ignore_errors=True)
            self._half.rename(self._target)
        except OSError as error:
            raise unwritable(self._target, error) from error
        return open_token_store(self._target)

    def discard(self) -> None:
        """Leave nothing; does nothing after :meth:`close`."""
        if self._tokens is not None:
            with suppress(OSError):  # what a full disk did not take; it goes with the folder
                self._tokens.close()
        shutil.rmtree(self._half, ignore_errors=True)


def _sync(file: IO[Any]) -> None:
    file.flush()
    os.fsync(file.fileno())
