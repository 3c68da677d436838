"""Ten thousand programs in a row, a tenth of them hostile, leave nothing behind and are judged alike."""

from __future__ import annotations

import os
import resource
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import Job, JudgePool, Limits, parse_tests

_SUITE = parse_tests({"inputs": ["2 3\n", "4 5\n"], "outputs": ["5\n", "9\n"]})
_CALLS = parse_tests({"fn_name": "add", "inputs": [[2, 3], [4, 5]], "outputs": [5, 9]})
_HONEST = [
    ("print(sum(map(int, input().split())) + {n} - {n})", _SUITE, "AC"),
    ("a, b = map(int, input().split())\nprint(a - b + {n} * 0)", _SUITE, "WA"),
    ("def add(a, b):\n    return a + b + 0 * {n}", _CALLS, "AC"),
    ("x = {n}\nprint(undefined)", _SUITE, "RE"),
]
_HOSTILE = [
    ("import os\nwhile {n} + 1:\n    os.write(1, b'x' * 65536)", _SUITE, "OL"),
    ("x = {n}\nwhile True:\n    pass", _SUITE, "TL"),
    ("import os\nfor _ in range({n} + 5):\n    os.fork()", _SUITE, "RE"),
    ("import ctypes\nctypes.memset({n} * 0, 1, 8)", _SUITE, "RE"),
    ("import os\nx = {n}\nwhile True:\n    os.dup(0)", _SUITE, "RE"),
    ("x = bytearray((1 << 40) + {n})", _SUITE, "ML"),
    ("import os\nos.closerange({n} * 0, 99)\ndef add(a, b):\n    return a + b", _CALLS, "RE"),
    ("import threading, time\nfor _ in range(99 + {n}):\n"
     "    threading.Thread(target=time.sleep, args=(9,), daemon=True).start()", _SUITE, "RE"),
]  # fmt: skip


def _jobs(count: int) -> Iterator[tuple[Job, str]]:
    for n in range(count):
        pool = _HOSTILE if n % 10 == 9 else _HONEST
        program, suite, verdict = pool[(n // 10 if n % 10 == 9 else n) % len(pool)]
        yield Job(program.replace("{n}", str(n)), suite), verdict


def _judged(count: int, workers: int) -> list[str]:
    limits = Limits(time_limit_s=0.3, wall_limit_s=60, output_mib=1)
    with JudgePool(jobs=workers, limits=limits) as pool:
        return [judgement.verdict for judgement in pool.judge_many(job for job, _ in _jobs(count))]


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def _own_processes() -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and f"PPid:\t{os.getpid()}\n" in (entry / "status").read_text():
                found.append(entry.name)
        except OSError:
            continue
    return sorted(found)


def _endure(count: int) -> None:
    expected = [verdict for _, verdict in _jobs(count)]
    _judged(40, 2)  # imports and caches that stay
    before, files, running = _descriptors(), sorted(os.listdir("/tmp")), _own_processes()
    peaks: list[int] = []
    for _ in range(2):
        assert _judged(count // 2, 2) == expected[: count // 2]
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    assert peaks[1] - peaks[0] < 16 * 1024, f"the host grew from {peaks[0]} to {peaks[1]} KiB"
    assert _descriptors() == before
    assert _own_processes() == running
    left = [name for name in sorted(os.listdir("/tmp")) if name not in files and "klear" in name]
    assert left == []


def test_a_few_hundred_programs_leave_nothing_behind() -> None:
    _endure(200)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_ten_thousand_programs_leave_nothing_behind() -> None:
    _endure(10_000)


@pytest.mark.slow
def test_verdicts_are_the_same_on_one_worker_and_on_a_busy_machine() -> None:
    expected = [verdict for _, verdict in _jobs(200)]
    assert _judged(200, 1) == expected
    stop = time.monotonic() + 60
    busy = [os.spawnlp(os.P_NOWAIT, "timeout", "timeout", "60", "sh", "-c", "while :; do :; done") for _ in range(8)]
    try:
        assert _judged(200, 2) == expected
        assert time.monotonic() < stop + 240
    finally:
        for pid in busy:
            os.kill(pid, 15)
            os.waitpid(pid, 0)


def test_pools_may_be_used_from_many_threads() -> None:
    found: list[str] = []
    with JudgePool(jobs=2) as pool:

        def work() -> None:
            found.append(pool.judge("print(sum(map(int, input().split())))", _SUITE).verdict)

        threads = [threading.Thread(target=work) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == ["AC"] * 12
