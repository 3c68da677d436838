"""LiveCodeBench's packed tests: base64 of zlib of a pickled JSON string, read without unpickling.

``pickle.loads`` runs what the bytes say. Here only the opcodes that push text are looked at
(``pickletools.genops`` decodes, it executes nothing), everything else is refused.
"""

from __future__ import annotations

import base64
import binascii
import json
import pickletools
import zlib
from typing import Any

from sandbox.types import TestsError

_LARGEST = 512 << 20
_TEXT = ("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE")
_HARMLESS = ("PROTO", "FRAME", "MEMOIZE", "BINPUT", "LONG_BINPUT", "PUT", "STOP")


def unpack(value: Any) -> list[Any]:
    """The list of tests from a list, JSON text, or LiveCodeBench's packed text.

    Raises:
        TestsError: it is none of these.
    """
    if isinstance(value, str):
        text = value.strip()
        if not text.startswith(("[", "{", '"')):
            text = _unpickled(_inflated(text))
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise TestsError(f"tests: not JSON: {str(error)[:120]}") from error
    if not isinstance(value, list):
        raise TestsError(f"tests: {type(value).__name__} found; expected a list of tests")
    return value


def _inflated(text: str) -> bytes:
    try:
        packed = base64.b64decode(text, validate=True)
        inflater = zlib.decompressobj()
        data = inflater.decompress(packed, _LARGEST)
    except (binascii.Error, ValueError, zlib.error) as error:
        raise TestsError(f"tests: neither JSON nor base64 of zlib: {error}") from error
    if inflater.unconsumed_tail or not inflater.eof:
        raise TestsError("tests: packed text that is cut off or larger than 512 MiB")
    return data


def _unpickled(data: bytes) -> str:
    if data.lstrip()[:1] == b"[":  # JSON without a pickle around it
        return data.decode("utf-8", "replace")
    found: list[str] = []
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name in _TEXT:
                found.append(str(argument))
            elif opcode.name not in _HARMLESS:
                raise TestsError(f"tests: a pickle that is more than one string ({opcode.name})")
    except ValueError as error:
        if isinstance(error, TestsError):
            raise
        raise TestsError(f"tests: not a pickle: {error}") from error
    if len(found) != 1:
        raise TestsError(f"tests: a pickle of {len(found)} strings; expected one")
    return found[0]
