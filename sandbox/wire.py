"""Messages between host, zygote and server: one letter, a length, a payload, sometimes a descriptor."""

from __future__ import annotations

import array
import os
import select
import socket
import struct
import time

_HEAD = struct.Struct("<cQ")
#: host → server: limits and program; a test; a test with a channel.
PROGRAM, TEST = b"P", b"T"
#: server → host: compiled; does not compile; a test's outcome; the machinery failed.
COMPILED, REFUSED, OUTCOME, FAILED = b"c", b"r", b"o", b"f"
#: host → zygote: start a server on the descriptor that comes along; kill everything. Zygote → host: done.
SERVE, SWEEP, READY, SWEPT = b"S", b"K", b"y", b"k"

#: What a server reports of a test: flags, exit code, signal, CPU µs, wall µs, peak KiB, sizes of two outputs.
REPORT = struct.Struct("<BiiQQQQQ")
WAS_READY, HIT_WALL, HIT_CPU = 1, 2, 4


class Gone(ConnectionError):
    """The other side closed the connection."""


class Late(TimeoutError):
    """The other side said nothing within the time given."""


def send(channel: socket.socket, kind: bytes, payload: bytes = b"", *, fd: int | None = None) -> None:
    """Send one message, with a file descriptor where ``fd`` is given.

    Raises:
        Gone: nobody reads any more.
    """
    head = _HEAD.pack(kind, len(payload))
    try:
        if fd is not None:
            channel.sendmsg([head], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))])
        elif len(payload) < 65536:
            channel.sendall(head + payload)
            return
        else:
            channel.sendall(head)
        if payload:
            channel.sendall(payload)
    except (BrokenPipeError, ConnectionResetError) as error:
        raise Gone("connection closed") from error


def receive(
    channel: socket.socket, *, deadline: float | None = None, limit: int = 1 << 31
) -> tuple[bytes, bytes, int | None]:
    """Read one message: its kind, payload and descriptor.

    Args:
        deadline: on ``time.monotonic``'s clock.
        limit: longest payload that is accepted.

    Raises:
        Gone: the connection ended, also within a message, or the message is longer than ``limit``.
        Late: the deadline passed.
    """
    fd: int | None = None
    head = b""
    while len(head) < _HEAD.size:
        _wait(channel, deadline)
        try:
            part, ancillary, _, _ = channel.recvmsg(_HEAD.size - len(head), socket.CMSG_SPACE(4))
        except ConnectionResetError as error:
            raise Gone("connection reset") from error
        if not part:
            raise Gone("connection closed")
        head += part
        for level, what, data in ancillary:
            if level == socket.SOL_SOCKET and what == socket.SCM_RIGHTS:
                fd = struct.unpack("i", data[:4])[0]
    kind, length = _HEAD.unpack(head)
    if length > limit:
        raise Gone(f"a message of {length} bytes")
    return kind, read_exactly(channel, length, deadline=deadline), fd


def read_exactly(channel: socket.socket, length: int, *, deadline: float | None = None) -> bytes:
    if not length:
        return b""
    buffer = bytearray(length)
    view, done = memoryview(buffer), 0
    while done < length:
        _wait(channel, deadline)
        try:
            count = channel.recv_into(view[done:])
        except ConnectionResetError as error:
            raise Gone("connection reset") from error
        if not count:
            raise Gone("connection closed")
        done += count
    view.release()
    return bytes(buffer)


def _wait(channel: socket.socket, deadline: float | None) -> None:
    if deadline is None:
        return
    left = deadline - time.monotonic()
    poller = select.poll()
    poller.register(channel.fileno(), select.POLLIN)
    if left <= 0 or not poller.poll(left * 1000):
        raise Late("no answer in time")


def memory_file(name: str, data: bytes = b"") -> int:
    """A file in memory, positioned at its start."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC)
    if data:
        write_all(fd, data)
        os.lseek(fd, 0, os.SEEK_SET)
    return fd


def write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
