"""Reads plain lines straight from their bytes: a reader of JSON that refuses whatever is not the usual."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import njit

from klear_data.curation.plain_lines import Scanned

_NAMES = (
    "schema", "id", "ability", "data_source", "prompt", "reward_model", "extra_info",
    "curation", "sampling", "rollouts", "difficulty",
)  # fmt: skip
_SCHEMA, _ID, _ABILITY, _SOURCE, _PROMPT, _REWARD, _EXTRA, _LATER = range(8)
_LEVELS = 32  # far fewer than klear_data.jsonobject.MAX_LEVELS
_DIGITS = 15  # any double and any parser holds so many
_LONG_GOLD = 64  # bytes: more than the 16 characters of klear_data.filters.is_gold

_QUOTE, _BACKSLASH, _COMMA, _COLON, _MINUS, _POINT, _ZERO = map(ord, '"\\,:-.0')
_OPEN, _CLOSE, _OPEN_LIST, _CLOSE_LIST = map(ord, "{}[]")
_SPACE, _TAB = map(ord, " \t")


def _words_table(words: Sequence[str]) -> Any:
    """A row a word: its length and its letters."""
    table = np.zeros((len(words), 1 + max(map(len, words))), dtype=np.uint8)
    for row, word in zip(table, words, strict=True):
        row[: 1 + len(word)] = [len(word), *word.encode()]
    return table


_TEXT = np.array([32 <= byte < 128 and byte not in b'"\\' for byte in range(256)])
"""Characters that stand in a string for themselves."""
_MEANT = np.zeros(256, dtype=np.uint8)
"""What a character behind a backslash means, 0 for nothing."""
_MEANT[list(b'"\\/bfnrt')] = list(b'"\\/\b\f\n\r\t')
_TOP, _ANSWER = map(_words_table, (_NAMES, ("ground_truth",)))
_WORDS = _words_table(("true", "false", "null"))
_NULL = _WORDS[2]
_KLEAR, _MATH, _ROLE, _USER, _CONTENT = _words_table(('"klear/1"', '"math"', '"role"', '"user"', '"content"'))


def scan(lines: Sequence[bytes]) -> Scanned:
    """Read those of some lines that are plain; the lines come without their ``\\n``."""
    # No plain string goes past a newline, so no reader leaves its line. One more in front: at place 0 nothing begins.
    data = b"\n".join([b"", *lines, b""])
    ends = np.cumsum(np.fromiter(map(len, lines), dtype=np.int64, count=len(lines)) + 1) + 1
    plain = np.zeros(len(lines), dtype=np.bool_)
    prompts = np.empty(len(data), dtype=np.uint8)
    columns = np.empty((3, len(lines)), dtype=np.int64)
    golds = np.empty(len(lines), dtype=np.uint64)
    count = _scan(np.frombuffer(data, np.uint8), ends, plain, prompts, columns, golds)
    prompt_ends, *names = columns[:, :count]
    sources = [data[first:after].decode() for first, after in zip(*(column.tolist() for column in names), strict=True)]
    return Scanned(plain, prompts[: prompt_ends[-1] if count else 0], prompt_ends, sources, golds[:count])


@njit(cache=True)
def _scan(data, ends, plain, prompts, columns, golds):  # type: ignore[no-untyped-def]
    top = np.empty((len(_TOP), 2), dtype=np.int64)
    question = np.empty(2, dtype=np.int64)
    answer = np.empty((len(_ANSWER), 2), dtype=np.int64)
    count = prompt_end = 0
    first = 1
    for number, end in enumerate(ends):
        if (
            _after_object(data, first, _TOP, top, question) == end - 1
            and _is_record(data, top)
            and _after_object(data, top[_REWARD, 0], _ANSWER, answer, question)
        ):
            golds[count] = _hashed_answer(data, answer[0])
            prompt_after = _meant(data, question, prompts, prompt_end)
            if golds[count] and _has_two_signs(prompts, prompt_end, prompt_after):
                prompt_end = prompt_after
                columns[0, count] = prompt_end
                columns[1, count] = top[_SOURCE, 0] + 1
                columns[2, count] = top[_SOURCE, 1] - 1
                plain[number] = True
                count += 1
        first = end
    return count


@njit(cache=True)
def _is_record(data, top):  # type: ignore[no-untyped-def]
    """Whether an object with these members is a record of a math problem, but for its prompt and its gold."""
    if top[_LATER:, 1].any() or not _is(data, top[_SCHEMA], _KLEAR) or not _is(data, top[_ABILITY], _MATH):
        return False
    if data[top[_ID, 0]] != _QUOTE or data[top[_PROMPT, 0]] != _OPEN_LIST or data[top[_SOURCE, 0]] != _QUOTE:
        return False
    if top[_EXTRA, 1] and data[top[_EXTRA, 0]] != _OPEN and not _is(data, top[_EXTRA], _NULL):
        return False
    place = top[_SOURCE, 0] + 1
    while _TEXT[data[place]]:
        place += 1
    return place == top[_SOURCE, 1] - 1  # a name with an escape is not plain


@njit(cache=True)
def _meant(data, span, texts, place):  # type: ignore[no-untyped-def]
    """Copy what the string of a span means to this place of ``texts``; the place behind it there."""
    at = span[0] + 1
    while at < span[1] - 1:
        byte = data[at]
        if byte == _BACKSLASH:
            at += 1
            byte = _MEANT[data[at]]
        texts[place] = byte
        place += 1
        at += 1
    return place


@njit(cache=True)
def _has_two_signs(texts, first, after):  # type: ignore[no-untyped-def]
    """Whether a text has more than one sign of ASCII that is no blank."""
    signs = 0
    while first < after and signs < 2:
        signs += _SPACE < texts[first] < 128
        first += 1
    return signs == 2


@njit(cache=True)
def _hashed_answer(data, span):  # type: ignore[no-untyped-def]
    """64 bits of a gold, 0 where it may be none: what stands for no answer is short and without a digit."""
    golden = span[1] - span[0] - 2 > _LONG_GOLD
    hashed = np.uint64(0x9E3779B97F4A7C15)
    for place in range(span[0], span[1]):
        golden |= _is_digit(data[place])
        hashed = (hashed ^ np.uint64(data[place])) * np.uint64(0xD6E8FEB86659FD93)
        hashed ^= hashed >> np.uint64(32)
    return hashed if golden and data[span[0]] == _QUOTE else np.uint64(0)


@njit(cache=True)
def _begins(data, place, word):  # type: ignore[no-untyped-def]
    for at in range(word[0]):  # noqa: SIM110  (compiled)
        if data[place + at] != word[1 + at]:
            return False
    return True


@njit(cache=True)
def _is(data, span, word):  # type: ignore[no-untyped-def]
    return span[1] - span[0] == word[0] and _begins(data, span[0], word)


@njit(cache=True)
def _is_digit(byte):  # type: ignore[no-untyped-def]
    return 48 <= byte <= 57


# JSON: each reader gets the place where something begins and returns the place behind it, 0 where it is not plain.


@njit(cache=True)
def _after_object(data, place, names, found, question):  # type: ignore[no-untyped-def]
    """From where to where its members of these names stand goes into ``found``; none may be there twice."""
    found[:] = 0
    if data[place] != _OPEN:
        return 0
    place = _after_blanks(data, place + 1)
    while True:
        name = 0
        while name < len(names) and not (
            _begins(data, place + 1, names[name]) and data[place + 1 + names[name, 0]] == _QUOTE
        ):
            name += 1
        first = _after_key(data, place)
        place = _after_question(data, first, question) if name == _PROMPT else _after_value(data, first)
        if place == 0 or (name < len(names) and found[name, 1]):
            return 0
        if name < len(names):
            found[name, 0] = first
            found[name, 1] = place
        place = _after_blanks(data, place)
        if data[place] != _COMMA:
            return place + 1 if data[place] == _CLOSE else 0
        place = _after_blanks(data, place + 1)


@njit(cache=True)
def _after_question(data, place, question):  # type: ignore[no-untyped-def]
    """A list of one message, of a user; from where to where its content stands goes into ``question``."""
    place = _after_sign(data, _after_sign(data, place, _OPEN_LIST), _OPEN)
    place = _after_sign(data, _after_word(data, place, _ROLE), _COLON)
    place = _after_sign(data, _after_word(data, place, _USER), _COMMA)
    question[0] = _after_sign(data, _after_word(data, place, _CONTENT), _COLON)
    question[1] = _after_string(data, question[0])
    place = _after_sign(data, _after_blanks(data, question[1]), _CLOSE)
    return place + 1 if data[place] == _CLOSE_LIST else 0


@njit(cache=True)
def _after_word(data, place, word):  # type: ignore[no-untyped-def]
    """A word and the blanks."""
    return _after_blanks(data, place + word[0]) if _begins(data, place, word) else 0


@njit(cache=True)
def _after_sign(data, place, sign):  # type: ignore[no-untyped-def]
    """A sign and the blanks."""
    return _after_blanks(data, place + 1) if data[place] == sign else 0


@njit(cache=True)
def _after_value(data, place):  # type: ignore[no-untyped-def]
    """Any value. Without recursion: compiled functions that call themselves don't survive numba's cache."""
    levels = objects = 0  # how many objects and lists are open; a bit each, the last one's lowest, set for objects
    while place:
        sign = data[place]
        if sign in (_OPEN, _OPEN_LIST):
            if levels == _LEVELS:
                return 0
            levels += 1
            objects = objects << 1 | (sign == _OPEN)
            place = _after_blanks(data, place + 1)
            if data[place] != sign + 2:  # in ASCII the closing bracket: then it is empty
                place = _after_key(data, place) if objects & 1 else place
                continue
        else:
            place = _after_scalar(data, place)
        while place and levels:
            place = _after_blanks(data, place)
            if data[place] == _COMMA:
                place = _after_blanks(data, place + 1)
                place = _after_key(data, place) if objects & 1 else place
                break
            if data[place] != (_CLOSE if objects & 1 else _CLOSE_LIST):
                return 0
            place += 1
            levels -= 1
            objects >>= 1
        if levels == 0:
            return place
    return 0


@njit(cache=True)
def _after_scalar(data, place):  # type: ignore[no-untyped-def]
    sign = data[place]
    if sign == _QUOTE:
        return _after_string(data, place)
    if sign == _MINUS or _is_digit(sign):
        return _after_number(data, place)
    for word in _WORDS:
        if _begins(data, place, word):
            return place + word[0]
    return 0


@njit(cache=True)
def _after_key(data, place):  # type: ignore[no-untyped-def]
    """A key, its colon and the blanks: where the value begins."""
    return _after_sign(data, _after_blanks(data, _after_string(data, place)), _COLON)


@njit(cache=True)
def _after_string(data, place):  # type: ignore[no-untyped-def]
    if data[place] != _QUOTE:
        return 0
    place += 1
    while place:
        while _TEXT[data[place]]:
            place += 1
        if data[place] == _QUOTE:
            return place + 1
        if data[place] != _BACKSLASH:
            place = _after_character(data, place)
        else:
            place = place + 2 if _MEANT[data[place + 1]] else 0
    return 0


@njit(cache=True)
def _after_character(data, place):  # type: ignore[no-untyped-def]
    """One that is not ASCII, in UTF-8 (RFC 3629)."""
    first, second = data[place], data[place + 1]
    if first < 0xC2 or first > 0xF4 or second & 0xC0 != 0x80:
        return 0
    if (first == 0xE0 and second < 0xA0) or (first == 0xF0 and second < 0x90):  # longer than it need be
        return 0
    if (first == 0xED and second > 0x9F) or (first == 0xF4 and second > 0x8F):  # a surrogate, or beyond Unicode
        return 0
    place += 2
    for _ in range((first >= 0xE0) + (first >= 0xF0)):
        if data[place] & 0xC0 != 0x80:
            return 0
        place += 1
    return place


@njit(cache=True)
def _after_number(data, place):  # type: ignore[no-untyped-def]
    """One without an exponent: whoever called stumbles over its ``e``."""
    place += data[place] == _MINUS
    first = place
    while _is_digit(data[place]):
        place += 1
    if place == first or (place > first + 1 and data[first] == _ZERO):
        return 0
    if data[place] == _POINT:
        point = place
        place += 1
        while _is_digit(data[place]):
            place += 1
        if place == point + 1:
            return 0
    return place if place - first <= _DIGITS else 0


@njit(cache=True)
def _after_blanks(data, place):  # type: ignore[no-untyped-def]
    while data[place] == _SPACE or data[place] == _TAB:
        place += 1
    return place
