"""Messages between the caller and a worker: JSON with its length in front."""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

_LENGTH = struct.Struct("!I")


def send(channel: socket.socket, message: dict[str, Any]) -> None:
    """Send one message. Lone surrogates survive (JSON escapes them)."""
    body = json.dumps(message).encode("ascii")
    channel.sendall(_LENGTH.pack(len(body)) + body)


def receive(channel: socket.socket) -> dict[str, Any] | None:
    """The next message, ``None`` when the other end has closed.

    Raises:
        TimeoutError: nothing came within the socket's timeout.
    """
    head = _exactly(channel, _LENGTH.size)
    body = None if head is None else _exactly(channel, _LENGTH.unpack(head)[0])
    return None if body is None else json.loads(body)


def _exactly(channel: socket.socket, count: int) -> bytes | None:
    parts: list[bytes] = []
    while count:
        try:
            part = channel.recv(count)
        except (ConnectionResetError, BrokenPipeError):
            return None
        if not part:
            return None
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
