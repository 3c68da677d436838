"""One JSON object exactly: every digit, every character, and what is no JSON refused with a reason."""

from __future__ import annotations

import base64
import datetime
import json
import math
import re
from typing import Any, NoReturn

import orjson

from klear_data.records import Record

# orjson reads an integer beyond 64 bits as a float; such lines go to the slower exact parser.
_LONG_DIGITS = re.compile(rb"\d{19}")
MAX_LEVELS = 200
"""Objects and lists inside each other; what is nested deeper could be read and not written again."""
TOO_DEEP = f"nested too deeply; expected at most {MAX_LEVELS} levels"


def parse_object(line: bytes) -> Record:
    """Parse one JSON object exactly.

    Integers keep all their digits and lone surrogate escapes (``\\ud800``) survive; NaN and Infinity are no
    JSON and are refused, and so is a number too large for a double.

    Raises:
        ValueError: with what is wrong and what was expected.
    """
    return _checked(line, _loads(line) if not _LONG_DIGITS.search(line) else parse_exactly(line))


def glance(line: bytes) -> Record:
    """Like :func:`parse_object`, faster, for who looks at an object and does not write it again.

    An integer beyond 64 bits may come back as a float; what else is refused is the same.
    """
    return _checked(line, _loads(line))


def _loads(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return parse_exactly(line)


def _checked(line: bytes, value: Any) -> Record:
    if not isinstance(value, dict):
        raise ValueError(f"a JSON {json_type(value)}; expected one JSON object a line")
    if line.count(b"[") + line.count(b"{") > MAX_LEVELS and nested_deeper(value, than=MAX_LEVELS):
        raise ValueError(TOO_DEEP)
    return value


def nested_deeper(value: object, *, than: int) -> bool:
    """True if objects and lists stand inside each other at more than this many levels.

    >>> nested_deeper({"a": [1]}, than=2), nested_deeper({"a": [1]}, than=1)
    (False, True)
    """
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return than == 0 or any(nested_deeper(part, than=than - 1) for part in inner)


def parse_exactly(line: bytes) -> Any:
    """Any JSON value by the slower parser of the standard library, which keeps every digit."""
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"not valid UTF-8 (byte 0x{line[error.start]:02x} at column {error.start + 1}); expected UTF-8 text"
        ) from None
    try:
        return json.loads(text, parse_constant=_refuse_constant, parse_float=_finite, parse_int=_integer)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    except json.JSONDecodeError as error:
        what = error.msg.removesuffix(" at")
        if error.pos >= len(text.rstrip()) or what.startswith("Unterminated string"):
            raise ValueError("ends in the middle of a JSON object; expected a whole one") from None
        raise ValueError(f"not JSON ({what} at column {error.pos + 1}); expected one JSON object") from None


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"the number {digits[:40]} is too large; expected one that a double can hold")
    return number


def _integer(digits: str) -> int:
    try:
        return int(digits)
    except ValueError:  # Python converts no more, since that takes quadratic time
        raise ValueError(f"an integer of {len(digits):,} digits; expected at most 4,300") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON; expected a finite number or null")


def json_type(value: object) -> str:
    """What JSON calls a value that is no object."""
    names: dict[type, str] = {list: "array", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")


def as_json(value: Any) -> Any:
    """A cell as JSON can hold it: Parquet also has bytes, dates and decimals, and NaN for what is missing.

    >>> as_json({"when": datetime.date(2025, 8, 12), "image": b"\\xff", "year": float("nan")})
    {'when': '2025-08-12', 'image': '/w==', 'year': None}
    """
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, dict):
        return {str(key): as_json(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(inner) for inner in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    return value.isoformat() if isinstance(value, datetime.date | datetime.time) else str(value)


def to_line(record: Any) -> bytes:
    """The record as one line of UTF-8 JSON with its ``\\n``; what UTF-8 can't hold is escaped."""
    try:
        return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # lone surrogates, integers beyond 64 bits
        return json.dumps(record, allow_nan=False, separators=(",", ":")).encode("ascii") + b"\n"
