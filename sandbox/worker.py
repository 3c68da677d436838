"""The host's side of one zygote: start it, open a server for a solution, run tests on it, sweep up."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import subprocess
import time
from dataclasses import dataclass

from sandbox import wire
from sandbox.layout import Layout, interpreter, layout_of
from sandbox.types import Language, Limits, SandboxError

_START_S, _SWEEP_S = 60.0, 30.0
_GRACE_S = 30.0  # for a busy machine, on top of what the server itself enforces
_STACK = 256 << 20

# Two steps, because the room for the main thread's stack is laid out when a program starts. What a host may have
# ignored or blocked would be inherited, as would a small number of descriptors.
_BOOT = """
import os, resource, signal, sys
signal.signal(signal.SIGCHLD, signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_SETMASK, ())
resource.setrlimit(resource.RLIMIT_NOFILE, resource.getrlimit(resource.RLIMIT_NOFILE)[1:] * 2)
soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
stack = int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_STACK, (stack if hard == -1 else min(stack, hard), hard))
os.execv(sys.executable, [sys.executable, "-S", "-s", "-P", "-c",
         "import sys; sys.path.insert(0, sys.argv[4]); from sandbox.zygote import main; main()", *sys.argv[1:]])
"""


@dataclass(frozen=True)
class Outcome:
    """How one test's process ended, as its server reports it."""

    ready: bool
    hit_wall: bool
    hit_cpu: bool
    exit_code: int
    signal: int
    cpu_s: float
    wall_s: float
    peak_mib: float
    output: bytes
    result: bytes


def _socket_pair() -> tuple[socket.socket, socket.socket]:
    """Connected sockets, the second one above the standard streams, which a host may have closed."""
    ours, low = socket.socketpair()
    with low:
        return ours, socket.socket(fileno=fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, 3))


class CompileError(Exception):
    """The program does not compile."""


class Zygote:
    """A running zygote. Not thread-safe: each worker thread has its own.

    Raises:
        SandboxError: it does not start.
    """

    def __init__(self, kind: str, *, level: str, scratch_mib: int = 0) -> None:
        self.kind, self.level = kind, level
        layout = layout_of(kind)
        ours, theirs = _socket_pair()
        try:
            self._process = subprocess.Popen(
                [interpreter(), "-S", "-s", "-P", "-c", _BOOT, _settings(layout, kind, level, scratch_mib),
                 str(theirs.fileno()), str(_STACK), os.path.dirname(os.path.dirname(os.path.abspath(__file__)))],
                env=_environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE, pass_fds=(theirs.fileno(),), start_new_session=True, cwd="/",
            )  # fmt: skip
        except OSError as error:
            ours.close()
            raise SandboxError(f"{interpreter()}: {error.strerror}") from error
        finally:
            theirs.close()
        self._channel = ours
        try:
            wire.receive(ours, deadline=time.monotonic() + _START_S)
        except (wire.Gone, wire.Late, OSError) as error:
            self._process.kill()
            said = self._process.communicate(timeout=_SWEEP_S)[1].decode("utf-8", "replace").strip()
            self._channel.close()
            last = said.splitlines()[-1] if said else str(error)
            raise SandboxError(f"the sandbox ({kind}, {level}) did not start: {last}") from error

    def open_server(self) -> socket.socket:
        """Fork a server for one solution and return the connection to it."""
        ours, theirs = socket.socketpair()
        try:
            wire.send(self._channel, wire.SERVE, fd=theirs.fileno())
        except (wire.Gone, OSError) as error:
            ours.close()
            raise SandboxError("the zygote is gone") from error
        finally:
            theirs.close()
        return ours

    def sweep(self) -> list[int | None]:
        """Kill and collect whatever the last solution left; how its servers ended."""
        try:
            wire.send(self._channel, wire.SWEEP)
            _, payload, _ = wire.receive(self._channel, deadline=time.monotonic() + _SWEEP_S)
        except (wire.Gone, wire.Late, OSError) as error:
            raise SandboxError("the zygote does not answer") from error
        return list(json.loads(payload))

    def close(self) -> None:
        """End it and everything below it."""
        self._channel.close()
        try:
            self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(timeout=_SWEEP_S)
        if self._process.stderr is not None:
            self._process.stderr.close()


class Server:
    """The connection to one solution's server."""

    def __init__(self, zygote: Zygote, program: bytes, *, language: Language, limits: Limits) -> None:
        self.zygote, self.limits = zygote, limits
        self._channel = zygote.open_server()
        head = json.dumps(_limits_for_server(limits, language, zygote)).encode()
        try:
            wire.send(self._channel, wire.PROGRAM, head + b"\n" + program)
            kind, payload, _ = self._receive(8 * limits.compile_s)
        except (wire.Gone, wire.Late) as error:
            self._channel.close()
            raise CompileError(f"compiling did not end ({_ending(zygote.sweep())})") from error
        if kind != wire.COMPILED:
            self._channel.close()
            said = payload[:300].decode("utf-8", "replace")
            raise CompileError(said) if kind == wire.REFUSED else SandboxError(said)

    def run(self, mode: bytes, data: bytes, *, channel: socket.socket | None = None) -> Outcome:
        """Run one test in a fresh process.

        Raises:
            SandboxError: the machinery failed; says nothing about the program.
        """
        self.start(mode, data, channel=channel)
        return self.finish()

    def start(self, mode: bytes, data: bytes, *, channel: socket.socket | None = None) -> None:
        try:
            fd = None if channel is None else channel.fileno()
            wire.send(self._channel, wire.TEST, mode + data, fd=fd)
        except (wire.Gone, OSError) as error:
            raise SandboxError("the solution's server is gone") from error

    def finish(self) -> Outcome:
        try:
            kind, payload, _ = self._receive(self.limits.wall_s)
        except (wire.Gone, wire.Late, OSError) as error:
            raise SandboxError(f"the solution's server failed: {error}") from error
        if kind != wire.OUTCOME:
            raise SandboxError(payload[:300].decode("utf-8", "replace"))
        size = wire.REPORT.size
        flags, code, number, cpu, wall, peak, printed, returned = wire.REPORT.unpack(payload[:size])
        return Outcome(
            ready=bool(flags & wire.WAS_READY),
            hit_wall=bool(flags & wire.HIT_WALL), hit_cpu=bool(flags & wire.HIT_CPU), exit_code=code,
            signal=number, cpu_s=cpu / 1e6, wall_s=wall / 1e6, peak_mib=peak / 1024,
            output=payload[size : size + printed], result=payload[size + printed : size + printed + returned],
        )  # fmt: skip

    def close(self) -> None:
        self._channel.close()

    def _receive(self, budget_s: float) -> tuple[bytes, bytes, int | None]:
        most = 2 * _output_bytes(self.limits) + wire.REPORT.size
        return wire.receive(self._channel, deadline=time.monotonic() + budget_s + _GRACE_S, limit=most)


def _settings(layout: Layout, kind: str, level: str, scratch_mib: int) -> str:
    return json.dumps(
        {"level": level, "readable": layout.readable, "links": layout.links, "path": layout.path,
         "preload": layout.preload, "kind": kind, "scratch_mib": scratch_mib, "open_to_all": layout.open_to_all}
    )  # fmt: skip


def _environment() -> dict[str, str]:
    """All that a solution sees of the environment; a fixed hash seed makes runs repeatable.

    ``LD_BIND_NOW``: library calls are looked up once, not in each test's process.
    """
    return {
        "LD_BIND_NOW": "1", "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUTF8": "1",
        "LANG": "C.UTF-8",
        "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1",
    }  # fmt: skip


def _output_bytes(limits: Limits) -> int:
    return limits.output_mib << 20


def _limits_for_server(limits: Limits, language: Language, zygote: Zygote) -> dict[str, object]:
    return {
        "language": language, "memory_bytes": (limits.memory_mib << 20) * (2 if zygote.kind == "numpy" else 1),
        "output_bytes": _output_bytes(limits), "open_files": limits.open_files,
        # Without a user namespace the kernel counts all processes of the user, our own and others.
        "threads": limits.threads if zygote.level == "full" else None,
        "compile_s": limits.compile_s, "wall_s": limits.wall_s, "cpu_s": limits.time_limit_s,
        "stack_bytes": _STACK,
    }  # fmt: skip


def _ending(codes: list[int | None]) -> str:
    code = codes[-1] if codes else None
    return "no sign of life" if code is None else f"signal {-code}" if code < 0 else f"exit code {code}"
