"""The normaliser over the bytes of many prompts at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import njit

from klear_data.contamination.kernels import respelled
from klear_data.text import ASCII_FOLD, normalise

_TABLE = np.frombuffer(ASCII_FOLD + bytes(range(128, 256)), dtype=np.uint8)


def fold(texts: Sequence[str]) -> tuple[bytes, Any]:
    """All texts after :func:`klear_data.text.normalise`, in UTF-8 one after the other, and where each ends (int64)."""
    whole = "".join(texts)
    if whole.isascii():
        data, lengths = whole.encode("ascii"), map(len, texts)
    else:  # what the kernel does to a normalised text changes nothing
        pieces = [(text if text.isascii() else normalise(text)).encode("utf-8", "surrogatepass") for text in texts]
        data, lengths = b"".join(pieces), map(len, pieces)
    return fold_ascii(data, np.cumsum(np.fromiter(lengths, dtype=np.int64, count=len(texts))))


def fold_utf8(data: Any, ends: Any) -> tuple[bytes, Any]:
    """The same of texts in UTF-8 one after the other (uint8), and where each ends (int64)."""
    if len(data) and int(data.max()) >= 128:
        return fold_ascii(*respelled(data.tobytes(), ends, normalise))
    return fold_ascii(data, ends)


def fold_ascii(data: Any, ends: Any) -> tuple[bytes, Any]:
    """The same of texts that are ASCII or normalised already."""
    folded, ends = np.empty(len(data) + 1, dtype=np.uint8), ends.copy()
    return folded[: _fold(np.frombuffer(data, np.uint8), ends, _TABLE, folded)].tobytes(), ends


@njit(cache=True)
def _fold(data, ends, table, folded):  # type: ignore[no-untyped-def]
    """Fold bytes into ``folded``, how many is returned; ``ends`` of the texts become those of the folded ones."""
    count = 0
    place = 0
    for text, end in enumerate(ends):
        first = count
        after_blank = True
        while place < end:
            byte = table[data[place]]
            is_blank = byte == 32
            folded[count] = byte  # overwritten by the next one if it is a blank too many
            count += not (is_blank and after_blank)
            after_blank = is_blank
            place += 1
        if after_blank and count > first:
            count -= 1
        ends[text] = count
    return count
