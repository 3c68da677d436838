"""The process that has sympy loaded and forks workers on request.

It is a fresh interpreter with one thread, so forking is safe whatever the caller runs (CUDA, threads,
Ray), and a replacement for a killed worker is there in milliseconds instead of after another import.
It reads commands from an inherited socket and ends with it.

Commands: ``f`` + a socket fork a worker that serves this socket, the answer is its pid; ``r`` + pid
waits for a worker that has ended, the answer is the signal that ended it and its CPU time in ms.
"""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import signal
import socket
import struct
import sys
import time
from typing import Any

from klear_data.reward.mathcheck import wire

PID = struct.Struct("!i")
FATE = struct.Struct("!iq")


def main() -> None:
    """Serve the control socket given as the first argument; the second is the memory limit in MiB."""
    control = socket.socket(fileno=int(sys.argv[1]))
    memory_mib = int(sys.argv[2])
    preload()
    control.sendall(b"k")
    while True:
        try:
            command, fds, _, _ = socket.recv_fds(control, 1 + PID.size, 1)
        except OSError:
            return
        if not command:
            return
        if command[:1] == b"f":
            control.sendall(PID.pack(_fork(control, fds[0], memory_mib)))
        else:
            control.sendall(_reap(PID.unpack(command[1:])[0]))


def preload() -> None:
    """Import everything a worker needs, so that a fork shares it."""
    import latex2sympy2_extended.latex2sympy2
    import mpmath
    import sympy

    from klear_data.reward.mathcheck import decide, symbolic

    symbolic.equal("\\sum_{k=1}^{n} k", "\\frac{n(n+1)}{2}")
    del latex2sympy2_extended, mpmath, sympy, decide
    gc.collect()
    gc.freeze()


def _fork(control: socket.socket, fd: int, memory_mib: int) -> int:
    pid = os.fork()
    if pid:
        os.close(fd)
        return pid
    try:
        control.close()
        serve(socket.socket(fileno=fd), memory_mib)
    finally:
        os._exit(0)


def _reap(pid: int) -> bytes:
    try:
        _, status, usage = os.wait4(pid, 0)
    except ChildProcessError:
        return FATE.pack(0, 0)
    ended_by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    return FATE.pack(ended_by, int((usage.ru_utime + usage.ru_stime) * 1000))


def serve(channel: socket.socket, memory_mib: int) -> None:
    """Answer requests until the other end closes. A CPU timer, not a handler, ends what runs too long."""
    limit = memory_mib << 20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    sys.setrecursionlimit(3_000)
    sys.set_int_max_str_digits(50_000)
    while (request := wire.receive(channel)) is not None:
        started = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, float(request["cpu_limit_s"]))
        try:
            reply = answer(request)
        except MemoryError:
            reply = {"failure": "memory"}
        except RecursionError:
            reply = {"failure": "recursion"}
        except Exception as error:  # noqa: BLE001 - whatever sympy raises is this item's outcome, not the worker's end
            reply = {"failure": f"{type(error).__name__}: {error}"[:200]}
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        reply["cpu_ms"] = (time.process_time() - started) * 1000
        reply["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        with contextlib.suppress(BrokenPipeError):
            wire.send(channel, reply)


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Decide one request: a pair, or whether a gold can be read."""
    from klear_data.reward.mathcheck import symbolic
    from klear_data.reward.mathcheck.decide import decide, gold_fault

    if "answer" not in request:
        return {"reason": gold_fault(request["gold"], symbolic.readable)}
    decision = decide(request["gold"], request["answer"], symbolic.equal)
    if decision is None:
        return {"equal": False, "stage": "unread", "reason": "neither klear nor sympy can read one of the two"}
    return {"equal": decision.equal, "stage": decision.stage, "reason": decision.reason}


if __name__ == "__main__":
    main()
