"""The zygote: a warm interpreter behind the walls that forks a server for each solution.

It never sees a program, a test's input or an expected output. Started by `sandbox.worker` as a fresh
process (the caller is never forked), with its end of a socket and its settings as arguments.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import random
import resource
import socket
import sys
import threading

from sandbox import isolate, linux, rehearsal, seccomp, wire
from sandbox.server import LAST_FD, Server, prepare_stdio

_DEFAULT_THREAD_STACK = 8 << 20
_CHANNEL = LAST_FD + 2


def main() -> None:
    """Entry point of the zygote's process: ``argv[1]`` is the settings' JSON, ``argv[2]`` the descriptor."""
    settings = json.loads(sys.argv[1])
    os.environ.pop("LD_BIND_NOW", None)  # it has done its work
    channel = socket.socket(fileno=int(sys.argv[2]))
    sys.path[:] = settings["path"]
    for name in settings["preload"]:
        importlib.import_module(name)
    if resource.getrlimit(resource.RLIMIT_STACK)[0] >= _DEFAULT_THREAD_STACK:
        threading.stack_size(_DEFAULT_THREAD_STACK)  # else every thread would take the large main stack's size
    walls = isolate.Walls(
        level=settings["level"], readable=settings["readable"], listable=settings["path"], links=settings["links"],
        scratch_mib=settings["scratch_mib"], open_to_all=settings["open_to_all"],
    )  # fmt: skip
    assert walls.open_to_all in (True, False)
    isolate.enter(walls)
    for name in [name for name in sys.modules if name == "sandbox" or name.startswith("sandbox.")]:
        del sys.modules[name]  # a solution's own modules may be called so
    sys.argv[:] = ["solution.py"]
    filters = _close_doors(walls, allow_exec=settings["kind"] == "cpp")
    channel = _out_of_the_way(channel)
    rehearsal.rehearse(filters)
    prepare_stdio()
    random.seed(0)  # every test starts with the same state: runs are repeatable
    gc.collect()
    gc.freeze()
    wire.send(channel, wire.READY, json.dumps({"pid": os.getpid()}).encode())
    _loop(channel, walls, filters)


def _out_of_the_way(channel: socket.socket) -> socket.socket:
    """The channel on a descriptor above those that servers lay out; what it was on may be any number."""
    with channel:
        return socket.socket(fileno=os.dup2(channel.fileno(), _CHANNEL, inheritable=False))


def _close_doors(walls: isolate.Walls, *, allow_exec: bool) -> dict[str, linux.Filter]:
    """Confine the zygote itself, once, to what it and everything below it may do; the filters still to come."""
    isolate.confine(walls)
    machine = seccomp.this_machine()
    if walls.level == "none" or machine is None:
        return {}
    linux.install_filter(linux.Filter(seccomp.assemble(seccomp.wall(machine, allow_exec=allow_exec))))
    kinds = {"python": {}, "binary": {"allow_exec": True}, "toolchain": {"toolchain": True}}
    return {kind: linux.Filter(seccomp.assemble(seccomp.door(machine, **options))) for kind, options in kinds.items()}


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
    pid = linux.fork()
    if pid:
        return pid
    status = 1
    try:
        if walls.level != "full":
            os.setpgid(0, 0)
        channel.close()
        isolate.become_nobody(walls)
        server = Server(fd, filters, scratch=bool(walls.scratch_mib))
        server.serve()
    except wire.Gone:
        status = 0
    finally:
        os._exit(status)
