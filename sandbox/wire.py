"""Messages between host, zygote and server: one letter, a length, a payload, sometimes a descriptor."""

from __future__ import annotations

import array
import os
import socket
import struct
import time

_HEAD = struct.Struct("<cQ")
_AT_ONCE = 1 << 16
_DESCRIPTOR = socket.CMSG_SPACE(4)
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

    Most arrive in one read, which never takes from the next message: each message is answered before the
    next is sent, or carries a descriptor, and behind a descriptor a read ends (unix(7)).

    Args:
        deadline: on ``time.monotonic``'s clock.
        limit: longest payload that is accepted.

    Raises:
        Gone: the connection ended, also within a message, or the message is longer than ``limit``.
        Late: the deadline passed.
    """
    fd: int | None = None
    data = b""
    while len(data) < _HEAD.size:
        part, ancillary = _read(channel, _AT_ONCE, deadline)
        data += part
        if ancillary:
            fd = struct.unpack("i", ancillary[0][2][:4])[0]
    kind, length = _HEAD.unpack_from(data)
    missing = _HEAD.size + length - len(data)
    if length > limit or missing < 0:
        raise Gone(f"a message of {length} bytes")
    if not missing:
        return kind, data[_HEAD.size :], fd
    return kind, data[_HEAD.size :] + read_exactly(channel, missing, deadline=deadline), fd


def read_exactly(channel: socket.socket, length: int, *, deadline: float | None = None) -> bytes:
    buffer = bytearray(length)
    view, done = memoryview(buffer), 0
    while done < length:
        _set_timeout(channel, deadline)
        try:
            count = channel.recv_into(view[done:])
        except TimeoutError:
            raise Late("no answer in time") from None
        except ConnectionResetError as error:
            raise Gone("connection reset") from error
        if not count:
            raise Gone("connection closed")
        done += count
    view.release()
    return bytes(buffer)


def _read(channel: socket.socket, most: int, deadline: float | None) -> tuple[bytes, list[tuple[int, int, bytes]]]:
    """Some bytes and the descriptor that came with them, as soon as there are any."""
    _set_timeout(channel, deadline)
    try:
        part, ancillary, _, _ = channel.recvmsg(most, _DESCRIPTOR)
    except TimeoutError:
        raise Late("no answer in time") from None
    except ConnectionResetError as error:
        raise Gone("connection reset") from error
    if not part:
        raise Gone("connection closed")
    return part, ancillary


def _set_timeout(channel: socket.socket, deadline: float | None) -> None:
    if deadline is not None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise Late("no answer in time")
        channel.settimeout(left)


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
