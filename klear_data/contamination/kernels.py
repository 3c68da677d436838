"""n-gram look-up over the bytes of many texts at once.

A kernel says where a text *may* hold a known n-gram: it compares 64-bit hashes. Whoever calls it compares
tokens before anybody is accused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numba import njit

from klear_data.contamination.tokens import BETWEEN, COMMAND, DIGIT, ESCAPE, SINGLE, WORD, Tokeniser

_SEED = np.uint64(0x9E3779B97F4A7C15)
_PRIME = np.uint64(0xD6E8FEB86659FD93)
_BASE = np.uint64(0xA0761D6478BD642F)  # odd: of the rolling hash
_SHIFT = np.uint64(32)
_BACKSLASH = np.uint64(ord("\\"))

Texts = tuple[Any, Any]
"""The hashes of the tokens of all texts (uint64), and where each text begins, with the end of the last (int64)."""


Lists = tuple[Any, Any]
"""Lists of small numbers: where each begins, with the end of the last (int64), and all of them in a row (int32)."""


def lists(numbers: Sequence[Sequence[int]]) -> Lists:
    """Pack lists for the kernels."""
    starts = np.zeros(len(numbers) + 1, dtype=np.int64)
    np.cumsum([len(each) for each in numbers], out=starts[1:])
    return starts, np.fromiter((number for each in numbers for number in each), dtype=np.int32, count=starts[-1])


def classes_of(tokeniser: Tokeniser) -> Any:
    """The class of every code point (uint8)."""
    return np.frombuffer(tokeniser.classes, dtype=np.uint8)


class NgramTable:
    """A set of hashes of n-grams, each with its place among those given (the first one's, if some are equal).

    A bit of a small map says "certainly not" for nearly every n-gram of a text, before the table of 64-bit
    hashes (open addressing, at most a quarter full) is touched.
    """

    def __init__(self, hashes: Any, *, n: int) -> None:
        self.n = n
        size = 1 << max(4, (4 * len(hashes)).bit_length())
        self.keys = np.zeros(size, dtype=np.uint64)
        self.places = np.zeros(size, dtype=np.int32)
        self.bits = np.zeros(4 * size // 8, dtype=np.uint8)
        _fill(hashes, self.keys, self.places, self.bits)


def tokenise(texts: Sequence[str], classes: Any) -> Texts:
    """Cut texts into tokens, each of these a hash."""
    encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
    ends = np.cumsum(np.fromiter(map(len, encoded), dtype=np.int64, count=len(encoded)))
    return tokenise_bytes(b"".join(encoded), ends, classes)


def tokenise_bytes(data: bytes, ends: Any, classes: Any) -> Texts:
    """The same of texts in UTF-8 one after the other, with the places where they end (int64)."""
    tokens = np.empty(len(data) + 1, dtype=np.uint64)  # only what is written costs memory
    starts = np.zeros(len(ends) + 1, dtype=np.int64)
    _tokenise(np.frombuffer(data, dtype=np.uint8), ends, classes, tokens, starts)
    return tokens[: starts[-1]], starts


def respelled(data: bytes, ends: Any, change: Callable[[str], str]) -> tuple[bytes, Any]:
    """Texts in UTF-8 one after the other (with where each ends) after a change to those that are not ASCII."""
    odd = np.flatnonzero(np.frombuffer(data, dtype=np.uint8) >= 128)
    starts, sizes = [0, *ends.tolist()], np.diff(ends, prepend=0)
    pieces = []
    copied = 0
    for text in np.unique(np.searchsorted(ends, odd, side="right")).tolist():
        first, after = starts[text], starts[text + 1]
        changed = change(data[first:after].decode("utf-8", "surrogatepass")).encode("utf-8", "surrogatepass")
        pieces += [data[copied:first], changed]
        copied = after
        sizes[text] = len(changed)
    return b"".join([*pieces, data[copied:]]), np.cumsum(sizes)


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


def candidates(texts: Texts, tables: Sequence[NgramTable], *, shorter_than: int) -> list[int]:
    """Texts that may hold an n-gram of one of the tables, and those of fewer tokens than so many."""
    may = np.diff(texts[1]) < shorter_than
    for table in tables:
        may[find(texts, table)[0]] = True
    numbers: list[int] = np.flatnonzero(may).tolist()
    return numbers


def sharing(texts: Texts, table: NgramTable, holders: Lists, least: Any) -> tuple[Any, Any]:
    """Which texts may share n-grams with which holders of them.

    Args:
        texts: what :func:`tokenise` makes of them.
        table: of the n-grams.
        holders: of each n-gram, in the order of the table's hashes.
        least: so many different n-grams must be shared with a holder (int32, of each).

    Returns:
        the texts and their holders, in the order of the texts.
    """
    most = 1024
    while True:
        found, count = _sharing(*texts, table.n, table.keys, table.places, table.bits, *holders, least, most)
        if count <= most:
            return found[0, :count], found[1, :count]
        most = count


@njit(cache=True)
def _tokenise(data, ends, classes, tokens, starts):  # type: ignore[no-untyped-def]
    """Hashes of the tokens of every text into ``tokens``, where each text begins there into ``starts``."""
    words_only = classes[:128].max() <= WORD
    count = 0
    place = 0
    for text, end in enumerate(ends):
        if words_only:
            words = _ascii_words(data, place, end, classes, tokens, count)
            if words >= 0:
                count = starts[text + 1] = words
                place = end
                continue
        kind = BETWEEN  # of the token that is open; of a command that is no token COMMAND
        before = BETWEEN
        hashed = _SEED
        while place < end:
            code, place = _code_point(data, place)
            now = classes[min(code, len(classes) - 1)]
            if kind != BETWEEN and now != before:
                if kind != COMMAND:
                    tokens[count] = hashed ^ hashed >> _SHIFT
                    count += 1
                kind = BETWEEN
            if now in (WORD, DIGIT):
                if kind == BETWEEN:
                    kind = COMMAND if before == COMMAND and now == WORD else now
                    hashed = (_SEED ^ _BACKSLASH) * _PRIME if before == ESCAPE and now == WORD else _SEED
                hashed = (hashed ^ np.uint64(code)) * _PRIME
            elif now == SINGLE:
                hashed = (_SEED ^ np.uint64(code)) * _PRIME
                tokens[count] = hashed ^ hashed >> _SHIFT
                count += 1
            before = now
        if kind not in (BETWEEN, COMMAND):
            tokens[count] = hashed ^ hashed >> _SHIFT
            count += 1
        starts[text + 1] = count


@njit(cache=True)
def _ascii_words(data, place, end, classes, tokens, count):  # type: ignore[no-untyped-def]
    """The same of one text without a branch a character, -1 if it is not in ASCII; only where every token is a word."""
    before = np.uint64(BETWEEN)
    hashed = _SEED
    while place < end and data[place] < 128:
        now = np.uint64(classes[data[place]])
        tokens[count] = hashed ^ hashed >> _SHIFT  # overwritten unless a word has ended
        count += np.int64(before & ~now)
        hashed = ((hashed if before else _SEED) ^ np.uint64(data[place])) * _PRIME
        before = now
        place += 1
    tokens[count] = hashed ^ hashed >> _SHIFT
    return count + np.int64(before) if place == end else -1


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
def _fill(hashes, keys, places, bits):  # type: ignore[no-untyped-def]
    mask = np.uint64(len(keys) - 1)
    bit_mask = np.uint64(8 * len(bits) - 1)
    for place, key in enumerate(hashes):
        bit = (key >> _SHIFT) & bit_mask
        bits[bit >> np.uint64(3)] |= np.uint8(1) << np.uint8(bit & np.uint64(7))
        slot = key & mask
        while keys[slot] != 0 and keys[slot] != key:
            slot = (slot + np.uint64(1)) & mask
        if keys[slot] == 0:
            keys[slot] = key
            places[slot] = place


@njit(cache=True)
def _find(tokens, starts, n, keys, bits, found):  # type: ignore[no-untyped-def]
    power = _power(n)
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
            slot = _slot(_nonzero(rolling), keys, bits)
            if slot >= 0:
                found[0, count] = text
                found[1, count] = token - first - n + 1
                count += 1
    return count


@njit(cache=True)
def _slot(key, keys, bits):  # type: ignore[no-untyped-def]
    """Where a table holds a hash, -1 where it doesn't."""
    bit = (key >> _SHIFT) & np.uint64(8 * len(bits) - 1)
    if not bits[bit >> np.uint64(3)] >> np.uint8(bit & np.uint64(7)) & np.uint8(1):
        return -1
    mask = np.uint64(len(keys) - 1)
    slot = key & mask
    while keys[slot] != 0 and keys[slot] != key:
        slot = (slot + np.uint64(1)) & mask
    return np.int64(slot) if keys[slot] == key else -1


@njit(cache=True)
def _sharing(tokens, starts, n, keys, places, bits, holder_starts, holders, least, most):  # type: ignore[no-untyped-def]
    power = _power(n)
    seen_in = np.full(len(holder_starts) - 1, -1, dtype=np.int64)  # n-gram → the last text that has it
    shared = np.zeros(len(least), dtype=np.int32)
    shared_in = np.full(len(least), -1, dtype=np.int64)
    found = np.empty((2, most), dtype=np.int32)
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
            slot = _slot(_nonzero(rolling), keys, bits)
            if slot < 0 or seen_in[places[slot]] == text:
                continue
            seen_in[places[slot]] = text
            for at in range(holder_starts[places[slot]], holder_starts[places[slot] + 1]):
                holder = holders[at]
                if shared_in[holder] != text:
                    shared_in[holder] = text
                    shared[holder] = 0
                shared[holder] += 1
                if shared[holder] == least[holder]:
                    if count < most:
                        found[0, count] = text
                        found[1, count] = holder
                    count += 1
    return found, count
