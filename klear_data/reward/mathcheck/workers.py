"""Limited worker processes for what may run long, and the caller's side of talking to them.

CPU time is limited inside the worker (a busy machine changes no verdict), memory by RLIMIT_AS, wall time
here, many times the CPU limit, for a worker that hangs. A worker that dies costs the one item it had.
Nothing here forks the caller, installs a signal handler or starts a thread.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from klear_data.reward.mathcheck import wire
from klear_data.reward.mathcheck.nursery import FATE, PID

_RECYCLE_MIB = 700
_ROOT = Path(__file__).resolve().parents[3]


class WorkerTrouble(RuntimeError):
    """The verifier's own machinery failed; the item has no verdict."""


@dataclass(frozen=True)
class Fate:
    """How a worker ended: ``cpu`` limit, ``wall`` limit, or ``crash``."""

    kind: str
    cpu_ms: float


@dataclass
class _Worker:
    channel: socket.socket
    pid: int


class _Nursery:
    """Starts the forking process and asks it for workers."""

    def __init__(self, memory_mib: int) -> None:
        ours, theirs = socket.socketpair()
        search = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, "PYTHONPATH": search, "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}
        with tempfile.TemporaryFile() as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "klear_data.reward.mathcheck.nursery", str(theirs.fileno()), str(memory_mib)],
                pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors,
                env=environment, start_new_session=True,
            )  # fmt: skip
            theirs.close()
            self.control = ours
            if ours.recv(1) != b"k":
                self.process.wait()
                errors.seek(0)
                raise WorkerTrouble(f"math worker did not start: {errors.read()[-800:].decode(errors='replace')}")

    def spawn(self) -> _Worker:
        ours, theirs = socket.socketpair()
        try:
            socket.send_fds(self.control, [b"f"], [theirs.fileno()])
            return _Worker(ours, PID.unpack(self._reply(PID.size))[0])
        finally:
            theirs.close()

    def reap(self, worker: _Worker) -> tuple[int, float]:
        self.control.sendall(b"r" + PID.pack(worker.pid))
        ended_by, cpu_ms = FATE.unpack(self._reply(FATE.size))
        return ended_by, float(cpu_ms)

    def _reply(self, count: int) -> bytes:
        body = wire._exactly(self.control, count)
        if body is None:
            raise WorkerTrouble("the process that forks math workers has gone")
        return body

    def close(self) -> None:
        _end(self.control)
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Pool:
    """At most ``jobs`` workers, started when the first item needs one; safe to use from many threads.

    Args:
        jobs: workers at a time.
        cpu_limit_s: CPU time for one item.
        memory_mib: address space of a worker.
    """

    def __init__(self, *, jobs: int = 1, cpu_limit_s: float = 5.0, memory_mib: int = 2048) -> None:
        self.jobs = jobs
        self.cpu_limit_s = cpu_limit_s
        self.memory_mib = memory_mib
        self.wall_limit_s = 12 * cpu_limit_s + 10
        self._lock = threading.Lock()
        self._idle: queue.LifoQueue[_Worker | None] = queue.LifoQueue()
        for _ in range(jobs):
            self._idle.put(None)
        self._nursery: _Nursery | None = None
        self._closed = False

    def renewed(self) -> Pool:
        """A pool of the same size with workers of its own, for a fork of the caller."""
        return Pool(jobs=self.jobs, cpu_limit_s=self.cpu_limit_s, memory_mib=self.memory_mib)

    def ask(self, request: dict[str, Any]) -> dict[str, Any] | Fate:
        """The worker's reply, or how the worker ended over it. A crash is tried once more, alone.

        Raises:
            WorkerTrouble: no worker can be started.
        """
        request = {**request, "cpu_limit_s": self.cpu_limit_s}
        outcome = self._once(request)
        if isinstance(outcome, Fate) and outcome.kind != "cpu":
            outcome = self._once(request)
        return outcome

    def _once(self, request: dict[str, Any]) -> dict[str, Any] | Fate:
        worker = self._idle.get()
        try:
            if self._closed:
                raise WorkerTrouble("the rewarder is closed")
            if worker is None:
                worker = self._spawn()
            reply = self._talk(worker, request)
            if isinstance(reply, Fate) or reply.get("peak_mib", 0) > _RECYCLE_MIB:
                if not isinstance(reply, Fate):
                    self._retire(worker)
                worker = None
            return reply
        except BaseException:
            # The channel may hold half a message (an interrupt): such a worker is not used again.
            if worker is not None:
                with contextlib.suppress(OSError):
                    os.kill(worker.pid, signal.SIGKILL)
                self._retire(worker)
            worker = None
            raise
        finally:
            if worker is not None and self._closed:
                _end(worker.channel)
                worker = None
            self._idle.put(worker)

    def _talk(self, worker: _Worker, request: dict[str, Any]) -> dict[str, Any] | Fate:
        worker.channel.settimeout(self.wall_limit_s)
        hung = False
        try:
            wire.send(worker.channel, request)
            reply = wire.receive(worker.channel)
            if reply is not None:
                return reply
        except TimeoutError:
            hung = True
            os.kill(worker.pid, signal.SIGKILL)
        except (BrokenPipeError, ConnectionResetError):
            pass
        ended_by, cpu_ms = self._retire(worker)
        if hung:
            return Fate("wall", cpu_ms)
        return Fate("cpu", self.cpu_limit_s * 1000) if ended_by == signal.SIGPROF else Fate("crash", cpu_ms)

    def _spawn(self) -> _Worker:
        with self._lock:
            if self._nursery is not None:
                try:
                    return self._nursery.spawn()
                except (OSError, WorkerTrouble):
                    self._nursery.close()
            self._nursery = _Nursery(self.memory_mib)
            return self._nursery.spawn()

    def _retire(self, worker: _Worker) -> tuple[int, float]:
        _end(worker.channel)
        with self._lock:
            if self._nursery is None:
                return 0, 0.0
            try:
                return self._nursery.reap(worker)
            except (OSError, WorkerTrouble):
                return 0, 0.0

    def close(self) -> None:
        """End all idle workers and the forking process; a busy worker ends with its item."""
        self._closed = True
        drained: list[_Worker | None] = []
        with contextlib.suppress(queue.Empty):
            while True:
                drained.append(self._idle.get_nowait())
        for worker in drained:
            if worker is not None:
                _end(worker.channel)
            self._idle.put(None)
        with self._lock:
            if self._nursery is not None:
                self._nursery.close()
                self._nursery = None


def _end(channel: socket.socket) -> None:
    """Close a channel for both ends, also where a fork of the caller still holds a copy of it."""
    with contextlib.suppress(OSError):
        channel.shutdown(socket.SHUT_RDWR)
    channel.close()
