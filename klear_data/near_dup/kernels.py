"""The definition of near-duplicates at machine speed: texts as code points in, clusters out.

Shingles and numbers are 64-bit hashes here; what :mod:`klear_data.near_dup.definition` says of texts holds of
them but for collisions (of two sets of a thousand shingles, once in 10^13).
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any, NamedTuple

import numba
import numpy as np

from klear_data.near_dup.definition import CJK, HYPHENS, NUMBER_WORDS, OPERATORS, TOKENS_A_SHINGLE

_CODE_POINTS = 0x33500  # none above is a letter or a digit
_WORD, _CJK, _DIGIT, _LETTER, _HYPHEN, _SPACE = (np.uint8(1 << bit) for bit in range(6))
_CLASSES = (
    (_WORD, r"\w+"), (_CJK, f"[{CJK}]+"), (_DIGIT, r"\d+"), (_LETTER, r"[^\W\d_]+"), (_HYPHEN, f"[{HYPHENS}]+"),
    (_SPACE, r"\s+"),
)  # fmt: skip
_WORD_SLOTS = 1024
_BLANK, _PLUS, _COMMA, _POINT, _EQUALS = 32, 43, 44, 46, 61

_OFFSET = np.uint64(0xCBF29CE484222325)
_PRIME = np.uint64(0x100000001B3)
_MIX1, _MIX2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_STEP = np.uint64(0x9E3779B97F4A7C15)
_U0, _U1, _U27, _U30, _U31, _U32 = (np.uint64(value) for value in (0, 1, 27, 30, 31, 32))


@numba.njit(cache=True, inline="always")
def mix(value: Any) -> Any:
    """Spread 64 bits over 64 bits (the finalizer of splitmix64)."""
    value = (value ^ (value >> _U30)) * _MIX1
    value = (value ^ (value >> _U27)) * _MIX2
    return value ^ (value >> _U31)


@numba.njit(cache=True)
def hash_points(points: Any) -> Any:
    """The hash of one token, given as code points."""
    value = _OFFSET
    for point in points:
        value = (value ^ np.uint64(point)) * _PRIME
    return mix(value)


class Tables(NamedTuple):
    """What the kernels look up: of each character its class and which operator it is (0: none), and number words
    by hash (open addressing)."""

    classes: Any
    operators: Any
    word_keys: Any
    word_values: Any


class Numbers(NamedTuple):
    """Three hashes a text: its numbers as a multiset, in their order, and the shingles they stand in."""

    multiset: Any
    order: Any
    around: Any


def code_points(texts: list[str]) -> tuple[Any, Any]:
    """Texts as one array of code points, and where each ends in it."""
    points = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    return points, np.cumsum(np.fromiter(map(len, texts), dtype=np.int64, count=len(texts)))


@cache
def make_tables() -> Tables:
    """Classes of characters from the very patterns of the definition, and its number words."""
    every = "".join(map(chr, range(_CODE_POINTS)))
    classes = np.zeros(_CODE_POINTS, dtype=np.uint8)
    for bit, pattern in _CLASSES:
        for match in re.finditer(pattern, every):
            classes[match.start() : match.end()] |= bit
    keys, values = np.zeros(_WORD_SLOTS, dtype=np.uint64), np.zeros(_WORD_SLOTS, dtype=np.uint64)
    for word, number in NUMBER_WORDS.items():
        key, value = (hash_points(code_points([text])[0]) for text in (word, number))
        slot = int(key) % _WORD_SLOTS
        while keys[slot]:
            slot = (slot + 1) % _WORD_SLOTS
        keys[slot], values[slot] = key, value
    operators = np.zeros(max(map(ord, OPERATORS)) + 1, dtype=np.uint64)
    for sign, meant in OPERATORS.items():
        operators[ord(sign)] = ord(meant)
    return Tables(classes, operators, keys, values)


@numba.njit(cache=True, inline="always")
def class_of(classes: Any, point: Any) -> Any:
    return classes[point] if point < classes.size else np.uint8(0)


@numba.njit(cache=True)
def _number_value(tables: Any, token: Any) -> Any:
    """The number that a token stands for as a word, 0 if none."""
    slot = token % np.uint64(_WORD_SLOTS)
    while tables.word_keys[slot] != _U0:
        if tables.word_keys[slot] == token:
            return tables.word_values[slot]
        slot = (slot + _U1) % np.uint64(_WORD_SLOTS)
    return _U0


@numba.njit(cache=True)
def _digits_to(points: Any, at: int, end: int, classes: Any) -> int:
    while at < end and class_of(classes, points[at]) & _DIGIT:
        at += 1
    return at


@numba.njit(cache=True)
def _number_at(points: Any, start: int, end: int, classes: Any) -> Any:
    """Hash and end of the number that begins at a digit: 1,000.5 is one, hashed without its comma."""
    value = _OFFSET
    stop = _digits_to(points, start, end, classes)
    for at in range(start, stop):
        value = (value ^ np.uint64(points[at])) * _PRIME
    while stop < end and points[stop] == _COMMA and _digits_to(points, stop + 1, end, classes) == stop + 4:
        for at in range(stop + 1, stop + 4):
            value = (value ^ np.uint64(points[at])) * _PRIME
        stop += 4
    if stop + 1 < end and points[stop] == _POINT and class_of(classes, points[stop + 1]) & _DIGIT:
        fraction = _digits_to(points, stop + 1, end, classes)
        for at in range(stop, fraction):
            value = (value ^ np.uint64(points[at])) * _PRIME
        stop = fraction
    return mix(value), stop


@numba.njit(cache=True)
def _is_minus(points: Any, start: int, at: int, end: int, classes: Any) -> bool:
    if at > start and class_of(classes, points[at - 1]) & _HYPHEN:
        return False
    at += 1
    if at < end and class_of(classes, points[at]) & _HYPHEN:
        return False
    while at < end and class_of(classes, points[at]) & _SPACE:
        at += 1
    letters = 0
    while at < end and letters < 2 and class_of(classes, points[at]) & _LETTER:
        at += 1
        letters += 1
    return letters < 2


@numba.njit(cache=True)
def _is_operator(points: Any, start: int, at: int, end: int, tables: Any) -> bool:
    if points[at] >= tables.operators.size or tables.operators[points[at]] == _U0:
        return False
    before, after = at - 1, at + 1
    if (before >= start and points[before] == points[at]) or (after < end and points[after] == points[at]):
        return False
    while before >= start and (points[before] == _BLANK or points[before] == _EQUALS):
        before -= 1
    if before >= start and class_of(tables.classes, points[before]) & _DIGIT:
        return True
    while after < end and (points[after] == _BLANK or points[after] == _EQUALS):
        after += 1
    return after < end and class_of(tables.classes, points[after]) & _DIGIT != 0


@numba.njit(cache=True, inline="always")
def _count(number: Any, state: Any) -> None:
    """Add a number to a text's multiset (``state[0]``) and order (``state[1]``)."""
    state[0] += mix(number)
    state[1] = mix(state[1] ^ number) + _STEP


@numba.njit(cache=True)
def _read_token(points: Any, at: int, end: int, tables: Any, state: Any) -> Any:
    """The token that begins here: its hash, its end, and 1 if it is or holds a number.

    Its numbers are counted; ``state[2]`` is where the last of them ended, which may be in a later token.
    """
    token, numeric = _OFFSET, _U0
    start = at
    while at < end:
        kind = class_of(tables.classes, points[at])
        if (kind & _CJK and at > start) or not kind & (_WORD | _CJK):
            break
        if kind & _DIGIT:
            numeric = _U1
            if at >= np.int64(state[2]):
                number, number_end = _number_at(points, at, end, tables.classes)
                state[2] = number_end
                _count(number, state)
        token = (token ^ np.uint64(points[at])) * _PRIME
        at += 1
        if kind & _CJK:
            break
    token = mix(token)
    number = _number_value(tables, token)
    if number:
        numeric = _U1
        _count(number, state)
    return token, at, numeric


@numba.njit(cache=True)
def _shingle(points: Any, start: int, end: int, tables: Any, state: Any, shingles: Any, written: int) -> int:
    """Write the shingles of one text, unsorted, and count its numbers; returns the end of what is written."""
    minus, plus = mix(np.uint64(1)), mix(np.uint64(2))
    before2, before1, numeric2, numeric1 = _U0, _U0, _U0, _U0
    tokens, at = 0, start
    while at < end:
        kind = class_of(tables.classes, points[at])
        if not kind & (_WORD | _CJK):
            if points[at] == _PLUS:
                _count(plus, state)
            elif kind & _HYPHEN and _is_minus(points, start, at, end, tables.classes):
                _count(minus, state)
            elif _is_operator(points, start, at, end, tables):
                _count(mix(tables.operators[points[at]]), state)
            at += 1
            continue
        token, at, numeric = _read_token(points, at, end, tables, state)
        tokens += 1
        if tokens >= TOKENS_A_SHINGLE:
            shingle = mix(mix(mix(before2) + before1) + token)
            shingles[written] = (shingle & ~_U1) | numeric2 | numeric1 | numeric
            written += 1
        before2, before1, numeric2, numeric1 = before1, token, numeric1, numeric
    if 0 < tokens < TOKENS_A_SHINGLE:  # before2 is 0 where there is one token
        shingles[written] = (mix(mix(before2) + before1) & ~_U1) | numeric2 | numeric1
        written += 1
    return written


@numba.njit(cache=True)
def sketch(points: Any, ends: Any, tables: Any, shingles: Any, shingle_ends: Any, numbers: Any) -> int:
    """Shingles and numbers of texts.

    Args:
        points: code points of all texts.
        ends: where each text ends in them.
        tables: from :func:`make_tables`.
        shingles: filled with each text's set of shingles, sorted; as long as ``points`` is enough. The lowest
            bit of a shingle says if there is a number in it.
        shingle_ends: filled with where each text's set ends.
        numbers: filled.

    Returns:
        How many shingles were written.
    """
    written, start = 0, 0
    state, scratch = np.zeros(3, dtype=np.uint64), np.empty(points.size, dtype=np.uint64)
    for row in range(ends.size):
        first = written
        state[:2] = 0
        written = _shingle(points, start, ends[row], tables, state, shingles, written)
        written = first + _as_set(shingles[first:written], scratch)
        shingle_ends[row] = written
        numbers.multiset[row], numbers.order[row] = state[0], state[1]
        numbers.around[row] = _around(shingles, first, written)
        start = ends[row]
    return written


@numba.njit(cache=True)
def _as_set(values: Any, scratch: Any) -> int:
    """Sort hashes and keep each once; returns how many are left.

    They are spread evenly, so their highest bits put nearly each into its place.
    """
    count, bits = values.size, 1
    while 1 << bits < count:
        bits += 1
    shift = np.uint64(64 - bits)
    places = np.zeros((1 << bits) + 1, dtype=np.int64)
    for value in values:
        places[np.int64(value >> shift) + 1] += 1
    for bucket in range(1 << bits):
        places[bucket + 1] += places[bucket]
    for value in values:
        own = np.int64(value >> shift)
        scratch[places[own]] = value
        places[own] += 1
    kept = 0
    for at in range(count):
        value, place = scratch[at], kept
        while place > 0 and values[place - 1] > value:
            place -= 1
        if place > 0 and values[place - 1] == value:
            continue
        for moved in range(kept, place, -1):
            values[moved] = values[moved - 1]
        values[place] = value
        kept += 1
    return kept


@numba.njit(cache=True)
def _around(shingles: Any, first: int, last: int) -> Any:
    total = _U0
    for at in range(first, last):
        if shingles[at] & _U1:
            total += mix(shingles[at])
    return total
