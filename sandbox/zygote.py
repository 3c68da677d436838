"""The zygote: a warm interpreter behind the walls that forks a server for each solution.

It never sees a program, a test's input or an expected output. Started by `sandbox.worker` as a fresh
process (the caller is never forked), with its end of a socket and its settings as arguments.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import resource
import socket
import sys
import threading

from sandbox import isolate, linux, seccomp, wire
from sandbox.server import Server

_DEFAULT_THREAD_STACK = 8 << 20


def main() -> None:
    """Entry point of the zygote's process: ``argv[1]`` is the settings' JSON, ``argv[2]`` the descriptor."""
    settings = json.loads(sys.argv[1])
    channel = socket.socket(fileno=int(sys.argv[2]))
    sys.path[:] = settings["path"]
    for name in settings["preload"]:
        importlib.import_module(name)
    if resource.getrlimit(resource.RLIMIT_STACK)[0] >= _DEFAULT_THREAD_STACK:
        threading.stack_size(_DEFAULT_THREAD_STACK)  # else every thread would take the large main stack's size
    walls = isolate.Walls(
        level=settings["level"], readable=settings["readable"], links=settings["links"],
        scratch_mib=settings["scratch_mib"],
    )  # fmt: skip
    isolate.enter(walls)
    filters = _filters(settings["level"])
    for name in [name for name in sys.modules if name == "sandbox" or name.startswith("sandbox.")]:
        del sys.modules[name]  # a solution's own modules may be called so
    sys.argv[:] = ["solution.py"]
    gc.collect()
    gc.freeze()
    wire.send(channel, wire.READY, json.dumps({"pid": os.getpid()}).encode())
    _loop(channel, walls, filters)


def _filters(level: str) -> dict[str, linux.Filter]:
    machine = seccomp.this_machine()
    if level == "none" or machine is None:
        return {}
    return {
        "python": linux.Filter(seccomp.assemble(seccomp.instructions(machine))),
        "binary": linux.Filter(seccomp.assemble(seccomp.instructions(machine, allow_exec=True))),
    }


def _loop(channel: socket.socket, walls: isolate.Walls, filters: dict[str, linux.Filter]) -> None:
    servers: list[int] = []
    while True:
        try:
            kind, _, fd = wire.receive(channel)
        except wire.Gone:
            return
        if kind == wire.SERVE and fd is not None:
            servers.append(_start_server(channel, fd, walls, filters))
            os.close(fd)
        elif kind == wire.SWEEP:
            ended = isolate.kill_all(servers, level=walls.level)
            servers.clear()
            wire.send(channel, wire.SWEPT, json.dumps(ended).encode())


def _start_server(channel: socket.socket, fd: int, walls: isolate.Walls, filters: dict[str, linux.Filter]) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        if walls.level != "full":
            os.setpgid(0, 0)
        isolate.give_up_privileges(walls)
        Server(fd, filters).serve()
    except wire.Gone:
        status = 0
    finally:
        os._exit(status)
