"""g++ in a process group of its own inside the sandbox, within limits of its own."""

from __future__ import annotations

import os
import resource
import signal
import time

from sandbox import linux, rlimits

OUTPUT = "/tmp/program"
_COMPILER = "/usr/bin/g++"
_WALL_S = 30.0
NOT_STARTED = 127 << 8  # a status that g++ itself never ends with


def run(files: list[int], door: linux.Filter | None, *, cpu_s: int) -> int:
    """Compile, the source, standard output and messages being ``files``; the status as ``waitpid`` gives it.

    The caller must have SIGCHLD blocked. The program is in ``OUTPUT``.
    """
    pid = linux.fork()
    if pid == 0:
        _become_compiler(files, door, cpu_s)
    deadline = time.monotonic() + _WALL_S
    while True:
        signal.sigtimedwait((signal.SIGCHLD,), max(deadline - time.monotonic(), 0.0))
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return status
        if time.monotonic() >= deadline:
            os.killpg(pid, signal.SIGKILL)
            return os.waitpid(pid, 0)[1]


def _become_compiler(files: list[int], door: linux.Filter | None, cpu_s: int) -> None:
    """Turn this process into g++; does not return."""
    try:
        for target, fd in enumerate(files):
            os.dup2(fd, target)
        os.closerange(3, 256)
        os.setpgid(0, 0)
        os.chdir("/tmp")
        for what, value in (
            (resource.RLIMIT_CPU, 4 * cpu_s), (resource.RLIMIT_AS, 2 << 30), (resource.RLIMIT_FSIZE, 128 << 20),
            (resource.RLIMIT_NPROC, 64), (resource.RLIMIT_CORE, 0),
        ):  # fmt: skip
            value = rlimits.up_to_hard(what, value)
            resource.setrlimit(what, (value, value))
        if door is not None:
            linux.install_filter(door)
        environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "TMPDIR": "/tmp", "LANG": "C.UTF-8"}
        options = ["-x", "c++", "-std=gnu++20", "-O2", "-w", "-fmax-errors=3", "-o", OUTPUT, "-"]
        os.execve(_COMPILER, ["g++", *options], environment)
    finally:
        os._exit(NOT_STARTED >> 8)
