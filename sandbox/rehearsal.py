"""What most programs do, done in the zygote before any of them comes.

A fresh process pays for each page of memory that it writes to, and Python writes where one would not expect
it: into its cache of methods, into the code that it specialises, into a class looked at for the first time.
After a rehearsal those places are as they will be, and a test's process only reads them. The same holds for
the servers, which are forked from the zygote and write to their memory again after every fork of theirs.
"""

from __future__ import annotations

import json
import os
import resource
import socket

from sandbox import child, linux, wire
from sandbox.server import LAST_FD, Server, prepare_stdio

_PROGRAM = """
import sys, math, heapq
from collections import defaultdict, deque, Counter
n = int(input())
values = list(map(int, input().split()))
words = sys.stdin.readline().strip().split(",")
rest = sys.stdin.read().split()
class Point:
    def __init__(self, x):
        self.x = x
    def twice(self):
        return 2 * self.x
def total(items):
    result = 0
    for index, item in enumerate(items):
        if item % 2 == 0 and index >= 0:
            result += item
        elif item > 3:
            result -= 1
    return result
seen, groups, queue, heap = set(), defaultdict(list), deque(), []
for value in values:
    seen.add(value)
    groups[value % 3].append(value)
    queue.append(Point(value).twice())
    heapq.heappush(heap, (value, str(value)))
while queue:
    queue.popleft()
counts = Counter(words)
table = [[0] * n for _ in range(n)]
for row in table:
    row[0] = max(values) + min(values)
names = {"a": 1}
names.update(b=2)
print(total(values), sum(values[:n]), len(seen), heapq.heappop(heap)[0], names.get("a"))
print(*sorted(values, key=lambda value: -value), sep=" ")
print(" ".join(map(str, values)), "".join(reversed("abc")), f"{math.sqrt(2):.3f}", "%d" % n)
for key, value in sorted(names.items()):
    print(key, value)
sys.stdout.write("x" + chr(10))
"""
_INPUT = b"5\n0 1 2 3 4\na,b\n7 8\n9\n"
_TIMES = 12  # Python specialises what has run eight times
_NEVER_S, _BOUNDLESS = 10**8, 1 << 62


def rehearse(filters: dict[str, linux.Filter]) -> None:
    """Run a program of ours some times: here, for the memory of tests, and as a server does, for that of servers.

    Leaves the descriptors below `server.LAST_FD` as a server has them, but for the one that errors go to.
    """
    errors = os.dup2(2, LAST_FD + 3)
    code = compile(_PROGRAM, child.FILE_NAME, "exec", dont_inherit=True)
    for _ in range(_TIMES):
        prepare_stdio()
        wire.write_all(0, _INPUT)
        os.lseek(0, 0, os.SEEK_SET)
        if child.run_program(code, child.new_module("__main__")) != 0:
            raise RuntimeError("the rehearsal failed")
    _rehearse_server(filters)
    os.dup2(errors, 2)
    os.close(errors)


def _rehearse_server(filters: dict[str, linux.Filter]) -> None:
    host, ours = socket.socketpair()
    os.dup2(host.fileno(), LAST_FD + 1)
    host.close()
    host = socket.socket(fileno=LAST_FD + 1)
    with host:
        server = Server(ours.detach(), filters)
        wire.send(host, wire.PROGRAM, json.dumps(_as_it_is()).encode() + b"\n" + _PROGRAM.encode())
        server.answer()
        for _ in range(_TIMES):
            wire.receive(host)
            wire.send(host, wire.TEST, b"i" + _INPUT)
            server.answer()
        report = wire.receive(host)[1][: wire.REPORT.size]
    if wire.REPORT.unpack(report)[:3] != (wire.WAS_READY, 0, 0):
        raise RuntimeError("the rehearsal of a server failed")


def _as_it_is() -> dict[str, object]:
    """Limits that take nothing from this process that it could still use."""

    def hard(what: int) -> int:
        return min(resource.getrlimit(what)[1] % (1 << 64), _BOUNDLESS)

    return {
        "language": "python", "memory_bytes": hard(resource.RLIMIT_AS), "output_bytes": hard(resource.RLIMIT_FSIZE),
        "open_files": hard(resource.RLIMIT_NOFILE), "threads": hard(resource.RLIMIT_NPROC),
        "stack_bytes": hard(resource.RLIMIT_STACK), "compile_s": _NEVER_S, "cpu_s": _NEVER_S, "wall_s": 60.0,
    }  # fmt: skip
