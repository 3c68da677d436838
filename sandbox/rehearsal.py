"""What most programs do, done in the zygote before any of them comes.

A fresh process pays for each page of memory that it writes to, and Python writes where one would not expect
it: into its cache of methods, into the code that it specialises, into a class looked at for the first time.
After a rehearsal those places are as they will be, and a test's process only reads them.
"""

from __future__ import annotations

import os

from sandbox import child, wire
from sandbox.server import prepare_stdio

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


def rehearse() -> None:
    """Run a program of ours some times, as a test would be run."""
    code = compile(_PROGRAM, child.FILE_NAME, "exec", dont_inherit=True)
    for _ in range(_TIMES):
        prepare_stdio()
        wire.write_all(0, _INPUT)
        os.lseek(0, 0, os.SEEK_SET)
        if child.run_program(code, child.new_module("__main__")) != 0:
            raise RuntimeError("the rehearsal failed")
