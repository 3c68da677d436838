"""The kernel's limits on a solution's server and its tests, within what the host itself may use."""

from __future__ import annotations

import resource
import time
from typing import Any

_SERVER_CPU_S = 30


def up_to_hard(what: int, value: int | None) -> int:
    """``value``, or what the host leaves of it; all of that for ``None``."""
    hard = resource.getrlimit(what)[1]
    return hard if value is None else value if hard == resource.RLIM_INFINITY else min(value, hard)


def set_all(limits: dict[str, Any]) -> None:
    """Everything but CPU time, for good.

    Raises:
        ValueError: the host may not use as much memory, output or descriptors itself. Threads and stack, which
            few programs use up, are what the host has.
    """
    memory, output = limits["memory_bytes"], limits["output_bytes"]
    for what, value in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, output),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, limits["open_files"]),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
        (resource.RLIMIT_NPROC, up_to_hard(resource.RLIMIT_NPROC, limits["threads"])),
        (resource.RLIMIT_STACK, up_to_hard(resource.RLIMIT_STACK, limits["stack_bytes"])),
    ):
        resource.setrlimit(what, (value, value))


def set_soft_cpu(seconds: float) -> None:
    """CPU time from now on; can be raised again."""
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (_cpu(seconds), hard))


def set_cpu(limits: dict[str, Any]) -> None:
    """The second line against endless tests, inherited by each of them: with room for the server's own work."""
    last = _cpu(2 * limits["cpu_s"] + _SERVER_CPU_S)
    resource.setrlimit(resource.RLIMIT_CPU, (last, last))


def _cpu(seconds: float) -> int:
    return up_to_hard(resource.RLIMIT_CPU, int(seconds + time.process_time()))
