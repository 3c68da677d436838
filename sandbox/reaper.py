"""Waiting for a test's process without making Python objects of what the kernel says.

After each fork every page that the server writes to is a fault, and each kind of object lies on pages of its
own: results with sixteen named fields cost more than the wait itself. Here the kernel writes into buffers
that are always the same, and the few numbers that matter are taken out of them.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct

_TIMESPEC = struct.Struct("@qq")
_SIGINFO = struct.Struct("@8xi4xi4xi")  # si_code, si_pid, si_status of a SIGCHLD (64-bit layout)
_RUSAGE = struct.Struct("@qqqqq")  # user s and µs, system s and µs, peak KiB
_STATUS = struct.Struct("@i")
_SIGNAL_SET, _SIGINFO_SIZE, _RUSAGE_SIZE = 128, 128, 144
_WNOHANG = 1
_CLD_KILLED = 2

# Without letting go of the interpreter lock: a server has one thread.
_in_place = ctypes.PyDLL(None)
_sigtimedwait, _wait4 = _in_place.sigtimedwait, _in_place.wait4


class Reaper:
    """Waits for the children of this process, which has blocked SIGCHLD."""

    def __init__(self) -> None:
        self._set = ctypes.create_string_buffer(_SIGNAL_SET)
        _in_place.sigemptyset(self._set)
        _in_place.sigaddset(self._set, ctypes.c_int(signal.SIGCHLD))
        self._timeout = ctypes.create_string_buffer(_TIMESPEC.size)
        self._info = ctypes.create_string_buffer(_SIGINFO_SIZE)
        self._status = ctypes.create_string_buffer(_STATUS.size)
        self._usage = ctypes.create_string_buffer(_RUSAGE_SIZE)
        self._wait = tuple(_address(buffer) for buffer in (self._set, self._info, self._timeout))
        self._ended = _address(self._status)
        self._used = _address(self._usage)

    def wait(self, timeout_s: float) -> int:
        """Sleep until a child has news or the time is up; the child that was killed by SIGKILL, else 0."""
        seconds = int(timeout_s)
        _TIMESPEC.pack_into(self._timeout, 0, seconds, int((timeout_s - seconds) * 1e9))
        if _sigtimedwait(*self._wait) < 0:
            return 0
        code, pid, status = _SIGINFO.unpack_from(self._info)
        return int(pid) if code == _CLD_KILLED and status == signal.SIGKILL else 0

    def collect(self, pid: int, *, block: bool = False) -> tuple[int, int, int] | None:
        """Collect a child that has ended: its exit code (``-n``: signal n), CPU µs and peak KiB; None if it runs."""
        if _wait4(pid, self._ended, 0 if block else _WNOHANG, self._used) <= 0:
            return None
        user_s, user_us, system_s, system_us, peak_kib = _RUSAGE.unpack_from(self._usage)
        code = os.waitstatus_to_exitcode(_STATUS.unpack_from(self._status)[0])
        return code, (user_s + system_s) * 1_000_000 + user_us + system_us, peak_kib


def _address(buffer: ctypes.Array[ctypes.c_char]) -> ctypes.c_void_p:
    return ctypes.c_void_p(ctypes.addressof(buffer))
