"""One solution's server: compiles it once, then forks a process a test. It never runs the solution itself.

Descriptors of a test's process: 0 and 1 are files in memory (so that the kernel caps the output and nobody
has to read it meanwhile), 2 is the null device, 3 takes results, 4 may be a channel for calls. All are
fresh: not even a file position or flag is shared from one test to the next.

What a test costs is the pages of memory that its process touches (each is a fault and a copy), so everything
that can be is laid out by the server before the fork; the process itself closes the door, says so, and runs.
"""

from __future__ import annotations

import gc
import io
import json
import os
import resource
import select
import signal
import socket
import sys
import time
import types
from typing import Any

from sandbox import child, compiler, linux, remote, rlimits, wire
from sandbox.reaper import Reaper

_KEEP_CHANNEL, _READY_FD, _BINARY_FD, _FIRST_FREE = 4, 5, 6, 16
_LITTLE = 400
LAST_FD = 256
_HOST_CHECK_S = 1.0  # how often a long wait looks whether the host is still there
_SETUP_FAILED = 86


class Server:
    """The state of a server between messages."""

    def __init__(self, channel_fd: int, filters: dict[str, linux.Filter], *, scratch: bool = False) -> None:
        self.scratch = scratch
        channel_fd = os.dup2(channel_fd, _FIRST_FREE)
        os.closerange(_FIRST_FREE + 1, LAST_FD)
        null = os.open("/dev/null", os.O_RDWR)
        for fd in range(2, _FIRST_FREE):  # so that no other descriptor is ever given these numbers
            os.dup2(null, fd)  # 2: what the compiler warns of would fill the pipe to the host
        self.channel = socket.socket(fileno=channel_fd)
        self.filters = filters
        self.limits: dict[str, Any] = {}
        self.code: types.CodeType | None = None
        self.main = child.new_module("__main__")
        self.binary = False
        self.ready, ready_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.dup2(ready_write, _READY_FD, inheritable=False)
        os.close(ready_write)
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGCHLD,))  # it is waited for instead
        self.reaper = Reaper()

    def serve(self) -> None:
        """Answer messages until the host hangs up."""
        while True:
            self.answer()

    def answer(self) -> None:
        """Wait for one message and answer it."""
        kind, payload, fd = wire.receive(self.channel)
        if kind == wire.PROGRAM:
            self._compile(payload)
        elif kind == wire.TEST:
            self._test(payload, fd)
        if fd is not None:
            os.close(fd)
            os.dup2(_FIRST_FREE - 1, _KEEP_CHANNEL, inheritable=False)

    def _compile(self, payload: bytes) -> None:
        head, _, source = payload.partition(b"\n")
        self.limits = json.loads(head)
        if self.limits["language"] == "cpp":
            self._compile_cpp(source)
            return
        if not self._limited():
            return
        rlimits.set_soft_cpu(self.limits["compile_s"] + 1)
        try:
            self.code = compile(source, child.FILE_NAME, "exec", dont_inherit=True)
        except BaseException as error:  # noqa: BLE001  SyntaxError, ValueError (NUL), MemoryError, RecursionError
            wire.send(self.channel, wire.REFUSED, child.describe(error))
            return
        del source, payload
        rlimits.set_cpu(self.limits)
        gc.freeze()
        wire.send(self.channel, wire.COMPILED)

    def _compile_cpp(self, source: bytes) -> None:
        """Compile with g++ in a process of its own (which may start others) and keep the program in memory."""
        files = [wire.memory_file("source", source), wire.memory_file("out"), wire.memory_file("messages")]
        status = compiler.run(files, self.filters.get("toolchain"), cpu_s=self.limits["compile_s"])
        if status != 0:
            _empty("/tmp")
            said = _contents(files[2], 2000).decode("utf-8", "replace")
            kind = wire.FAILED if status == compiler.NOT_STARTED else wire.REFUSED
            wire.send(self.channel, kind, (said or f"g++ ended with status {status}").encode())
            return
        with open(compiler.OUTPUT, "rb") as file:
            program = wire.memory_file("program", file.read())
        os.dup2(program, _BINARY_FD, inheritable=False)
        os.close(program)
        self.binary = True
        _empty("/tmp")
        for fd in files:
            os.close(fd)
        if self._limited():
            rlimits.set_cpu(self.limits)
            wire.send(self.channel, wire.COMPILED)

    def _limited(self) -> bool:
        try:
            rlimits.set_all(self.limits)
        except (OSError, ValueError) as error:  # the host itself may not use as much: no fault of the program
            wire.send(self.channel, wire.FAILED, f"limits: {error}".encode())
            return False
        return True

    def _test(self, payload: bytes, channel: int | None) -> None:
        """Fork, wait, report."""
        mode, data = payload[:1], payload[1:]
        self._lay_out(data if mode == b"i" else b"", channel)
        started = time.monotonic()
        try:
            pid = linux.fork()
        except OSError as error:
            wire.send(self.channel, wire.FAILED, f"fork: {error}".encode())
            return
        if pid == 0:
            self._child(mode, data, keep=_KEEP_CHANNEL + (channel is not None))
        flags, code, cpu_us, peak_kib = self._wait(pid, started)
        wall = time.monotonic() - started
        try:
            if os.read(self.ready, 64):
                flags |= wire.WAS_READY
        except BlockingIOError:
            pass
        output, result = (_contents(fd, self.limits["output_bytes"]) for fd in (1, child.RESULT_FD))
        if self.scratch:
            _empty("/tmp")
        report = wire.REPORT.pack(
            flags, max(code, 0), max(-code, 0), cpu_us, int(wall * 1e6), peak_kib, len(output), len(result)
        )
        wire.send(self.channel, wire.OUTCOME, report + output + result)

    def _lay_out(self, given: bytes, channel: int | None) -> None:
        """Put a test's descriptors where its process expects them.

        One at a time: a file that is opened gets the lowest free number, the one that was just closed.
        """
        os.close(0)
        os.memfd_create("in", 0)
        if given:
            wire.write_all(0, given)
            os.lseek(0, 0, os.SEEK_SET)
        os.close(1)
        os.memfd_create("out", 0)
        os.close(2)
        os.open("/dev/null", os.O_RDWR)
        os.close(child.RESULT_FD)
        os.memfd_create("result", 0)
        if channel is not None:
            os.dup2(channel, _KEEP_CHANNEL)

    def _wait(self, pid: int, started: float) -> tuple[int, int, int, int]:
        """Wait for the test's process, no longer than its limits or than the host stays.

        CPU time is read from the process's own clock: RLIMIT_CPU counts ticks, and so charges a program for
        what a busy machine took from it; it is only the second line.

        Returns:
            Flags, exit code (``-n``: signal n), CPU µs, peak KiB.
        """
        flags = 0
        cpu_clock = (~pid << 3) | 2  # CPUCLOCK_SCHED of the process, as clock_getcpuclockid makes it
        cpu_s, wall_s = self.limits["cpu_s"], self.limits["wall_s"]
        pause = min(cpu_s + 0.002, wall_s, _HOST_CHECK_S)
        while True:
            if self.reaper.wait(pause) == pid and not flags and _lowered_its_limit(pid):
                flags = wire.HIT_CPU
            ended = self.reaper.collect(pid, block=flags != 0)
            if ended is not None:
                return flags, *ended
            cpu_left = cpu_s - time.clock_gettime(cpu_clock)
            wall_left = wall_s - (time.monotonic() - started)
            if cpu_left < 0 or wall_left <= 0 or self._host_is_gone():
                flags = wire.HIT_CPU if cpu_left < 0 else wire.HIT_WALL
                os.kill(pid, signal.SIGKILL)
            pause = max(0.0, min(wall_left, cpu_left + 0.002, _HOST_CHECK_S))

    def _host_is_gone(self) -> bool:
        poller = select.poll()
        poller.register(self.channel.fileno(), select.POLLHUP)
        return bool(poller.poll(0))

    def _child(self, mode: bytes, data: bytes, *, keep: int) -> None:
        """The test's process, which keeps the descriptors below ``keep``; does not return."""
        status = _SETUP_FAILED
        try:
            if self.binary:
                self._become_binary(keep)
            door = self.filters.get("python")
            if door is not None:
                linux.install_filter(door)
            os.write(_READY_FD, b"r")
            os.closerange(keep, LAST_FD)
            assert self.code is not None
            if mode == b"i":
                status = child.run_program(self.code, self.main)
            elif mode == b"c":
                status = child.run_calls(self.code, data)
            elif mode == b"s":
                status = remote.serve_solution(self.code, _KEEP_CHANNEL)
            elif mode == b"x":
                status = remote.run_script(self.code, json.loads(data), _KEEP_CHANNEL)
            elif mode == b"w":
                status = remote.run_together(self.code, *json.loads(data))
            elif mode == b"k":
                status = child.run_with_files(self.code, data)
        finally:
            os._exit(status)

    def _become_binary(self, keep: int) -> None:
        """Turn the test's process into the compiled program; does not return."""
        os.set_inheritable(2, True)
        os.closerange(_BINARY_FD + 1, LAST_FD)
        if self.filters:
            linux.install_filter(self.filters["binary"])
        os.write(_READY_FD, b"r")
        os.closerange(keep, _BINARY_FD)
        os.execve(_BINARY_FD, ["solution"], {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"})


def _lowered_its_limit(pid: int) -> bool:
    """Whether a process that was killed may have arranged so itself (by RLIMIT_CPU, there is no other way)."""
    return resource.prlimit(pid, resource.RLIMIT_CPU) != resource.getrlimit(resource.RLIMIT_CPU)


def prepare_stdio() -> None:
    """Make sys.stdin and its like once, on descriptors that every test replaces beneath them."""
    for fd in (0, 1):
        file = wire.memory_file("stdio")
        os.dup2(file, fd)
        os.close(file)
    stdio = (
        io.TextIOWrapper(io.BufferedReader(io.FileIO(0, "r", closefd=False)), "utf-8", "surrogateescape"),
        io.TextIOWrapper(io.BufferedWriter(io.FileIO(1, "w", closefd=False)), "utf-8", "strict"),
        io.TextIOWrapper(io.BufferedWriter(io.FileIO(2, "w", closefd=False)), "utf-8", "backslashreplace"),
    )
    for name, stream in zip(("stdin", "stdout", "stderr"), stdio, strict=True):
        stream.mode = stream.buffer.raw.mode[0]  # type: ignore[attr-defined]
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _contents(fd: int, limit: int) -> bytes:
    """What a file holds from its start; one call where that is little."""
    parts = [os.pread(fd, min(_LITTLE, limit), 0)]
    at = len(parts[0])
    if at < _LITTLE:
        return parts[0]
    size = min(os.fstat(fd).st_size, limit)
    while at < size:
        part = os.pread(fd, size - at, at)
        if not part:
            break
        parts.append(part)
        at += len(part)
    return b"".join(parts)


def _empty(folder: str) -> None:
    """Remove everything in a folder. What lies deeper is lifted up first, so that no path ever grows long."""
    lifted, prefix = 0, os.urandom(8).hex()
    while entries := list(os.scandir(folder)):
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.path)
                continue
            os.chmod(entry.path, 0o700)
            for name in os.listdir(entry.path):
                inner = f"{entry.path}/{name}"
                if os.path.isdir(inner) and not os.path.islink(inner):
                    os.chmod(inner, 0o700)  # moving a folder writes into it
                lifted += 1
                os.rename(inner, f"{folder}/{prefix}-{lifted}")
            os.rmdir(entry.path)
