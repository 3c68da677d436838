"""n-gram look-up over the bytes of many texts at once.

A kernel says where a text *may* hold a known n-gram: it compares 64-bit hashes. Whoever calls it compares
tokens before anybody is accused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import njit

from klear_data.contamination.tokens import BETWEEN, DIGIT, ESCAPE, SINGLE, WORD, Tokeniser

_SEED = np.uint64(0x9E3779B97F4A7C15)
_PRIME = np.uint64(0xD6E8FEB86659FD93)
_BASE = np.uint64(0xA0761D6478BD642F)  # odd: of the rolling hash
_SHIFT = np.uint64(32)
_BACKSLASH = np.uint64(ord("\\"))

Texts = tuple[Any, Any]
"""The hashes of the tokens of all texts (uint64), and where each text begins, with the end of the last (int64)."""


def classes_of(tokeniser: Tokeniser) -> Any:
    """The class of every code point (uint8)."""
    return np.frombuffer(tokeniser.classes, dtype=np.uint8)


class NgramTable:
    """A set of hashes of n-grams.

    A bit of a small map says "certainly not" for nearly every n-gram of a text, before the table of 64-bit
    hashes (open addressing, at most a quarter full) is touched.
    """

    def __init__(self, hashes: Any, *, n: int) -> None:
        self.n = n
        size = 1 << max(4, (4 * len(hashes)).bit_length())
        self.keys = np.zeros(size, dtype=np.uint64)
        self.bits = np.zeros(4 * size // 8, dtype=np.uint8)
        _fill(hashes, self.keys, self.bits)


def tokenise(texts: Sequence[str], classes: Any) -> Texts:
    """Cut texts into tokens, each of these a hash."""
    encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
    ends = np.cumsum(np.fromiter(map(len, encoded), dtype=np.int64, count=len(encoded)))
    data = np.frombuffer(b"".join(encoded), dtype=np.uint8)
    tokens = np.empty(len(data), dtype=np.uint64)  # only what is written costs memory
    starts = np.zeros(len(texts) + 1, dtype=np.int64)
    _tokenise(data, ends, classes, tokens, starts)
    return tokens[: starts[-1]], starts


def ngram_hashes(texts: Texts, n: int) -> Any:
    """The hash of every n-gram of every text, in order (uint64)."""
    tokens, starts = texts
    hashes = np.empty(len(tokens), dtype=np.uint64)
    return hashes[: _ngram_hashes(tokens, starts, n, hashes)]


def find(texts: Texts, table: NgramTable) -> tuple[Any, Any]:
    """Where texts may hold n-grams of a table: of each find, in order, the text and the token where it begins."""
    tokens, starts = texts
    found = np.empty((2, len(tokens)), dtype=np.int32)
    count = _find(tokens, starts, table.n, table.keys, table.bits, found)
    return found[0, :count], found[1, :count]


@njit(cache=True)
def _tokenise(data, ends, classes, tokens, starts):  # type: ignore[no-untyped-def]
    """Hashes of the tokens of every text into ``tokens``, where each text begins there into ``starts``."""
    count = 0
    place = 0
    for text, end in enumerate(ends):
        kind = BETWEEN  # of the token that is open
        escaped = False
        hashed = _SEED
        while place < end:
            code, place = _code_point(data, place)
            now = classes[code] if code < len(classes) else BETWEEN
            if kind != BETWEEN and now != kind:
                tokens[count] = hashed ^ hashed >> _SHIFT
                count += 1
                kind = BETWEEN
            if now in (WORD, DIGIT):
                if kind == BETWEEN:
                    hashed = (_SEED ^ _BACKSLASH) * _PRIME if escaped and now == WORD else _SEED
                    kind = now
                hashed = (hashed ^ np.uint64(code)) * _PRIME
            elif now == SINGLE:
                hashed = (_SEED ^ np.uint64(code)) * _PRIME
                tokens[count] = hashed ^ hashed >> _SHIFT
                count += 1
            escaped = now == ESCAPE
        if kind != BETWEEN:
            tokens[count] = hashed ^ hashed >> _SHIFT
            count += 1
        starts[text + 1] = count


@njit(cache=True)
def _code_point(data, place):  # type: ignore[no-untyped-def]
    """The character that begins at a byte of valid UTF-8, and where the next one begins."""
    byte = np.uint32(data[place])
    if byte < 0x80:
        return byte, place + 1
    second = np.uint32(data[place + 1]) & 0x3F
    if byte < 0xE0:
        return (byte & 0x1F) << 6 | second, place + 2
    third = np.uint32(data[place + 2]) & 0x3F
    if byte < 0xF0:
        return (byte & 0x0F) << 12 | second << 6 | third, place + 3
    return (byte & 0x07) << 18 | second << 12 | third << 6 | (np.uint32(data[place + 3]) & 0x3F), place + 4


@njit(cache=True)
def _power(n):  # type: ignore[no-untyped-def]
    power = np.uint64(1)
    for _ in range(n):
        power *= _BASE
    return power


@njit(cache=True)
def _nonzero(hashed):  # type: ignore[no-untyped-def]
    """Zero marks an empty slot; nobody minds if two hashes are one."""
    return hashed if hashed != 0 else _SEED


@njit(cache=True)
def _ngram_hashes(tokens, starts, n, hashes):  # type: ignore[no-untyped-def]
    power = _power(n)
    total = 0
    for text in range(len(starts) - 1):
        rolling = np.uint64(0)
        for token in range(starts[text], starts[text + 1]):
            rolling = rolling * _BASE + tokens[token]
            if token >= starts[text] + n:
                rolling -= tokens[token - n] * power
            if token >= starts[text] + n - 1:
                hashes[total] = _nonzero(rolling)
                total += 1
    return total


@njit(cache=True)
def _fill(hashes, keys, bits):  # type: ignore[no-untyped-def]
    mask = np.uint64(len(keys) - 1)
    bit_mask = np.uint64(8 * len(bits) - 1)
    for key in hashes:
        bit = (key >> _SHIFT) & bit_mask
        bits[bit >> np.uint64(3)] |= np.uint8(1) << np.uint8(bit & np.uint64(7))
        slot = key & mask
        while keys[slot] != 0 and keys[slot] != key:
            slot = (slot + np.uint64(1)) & mask
        keys[slot] = key


@njit(cache=True)
def _find(tokens, starts, n, keys, bits, found):  # type: ignore[no-untyped-def]
    power = _power(n)
    mask = np.uint64(len(keys) - 1)
    bit_mask = np.uint64(8 * len(bits) - 1)
    count = 0
    for text in range(len(starts) - 1):
        first = starts[text]
        rolling = np.uint64(0)
        for token in range(first, starts[text + 1]):
            rolling = rolling * _BASE + tokens[token]
            if token >= first + n:
                rolling -= tokens[token - n] * power
            if token < first + n - 1:
                continue
            key = _nonzero(rolling)
            bit = (key >> _SHIFT) & bit_mask
            if not bits[bit >> np.uint64(3)] >> np.uint8(bit & np.uint64(7)) & np.uint8(1):
                continue
            slot = key & mask
            while keys[slot] != 0 and keys[slot] != key:
                slot = (slot + np.uint64(1)) & mask
            if keys[slot] == key:
                found[0, count] = text
                found[1, count] = token - first - n + 1
                count += 1
    return count
